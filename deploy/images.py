"""Pin the base images by digest, build our images from exactly those, and list what is in one.

`python -m deploy.images pin` asks the registries for the current digests of the tags in deploy/Dockerfile and writes
them to deploy/bases.json, which is to be committed. `python -m deploy.images build TARGET TAG` builds from the digests
in that file, and writes the commit into the image. Without the file it refuses, except with `--unpinned`.
`python -m deploy.images sbom TAG` prints the bill of materials of a built image (CycloneDX), from the files in its
layers. All need a Docker engine; `pin` also a registry.
"""

import argparse
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

from deploy.layers import components
from deploy.production import bill_of_materials

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PINNED = ROOT / "deploy" / "bases.json"
"""The file with the digests by tag. It exists once somebody has run `pin`."""
REGISTRY_DEADLINE = 300.0
"""Seconds for a registry to answer."""
BUILD_DEADLINE = 3600.0
"""Seconds for a build."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ImageError(Exception):
    """Docker refused, or a base image is not pinned."""


def bases(text: str) -> dict[str, str]:
    """Return the tags of a Dockerfile's base images, by the build argument that overrides each."""
    return dict(re.findall(r"(?m)^ARG (\w*BASE)=(\S+)$", text.partition("\nFROM ")[0]))


def pinned() -> dict[str, str]:
    """Read the pinned digests by tag. Raises ImageError for an invalid digest."""
    found: dict[str, str] = json.loads(PINNED.read_text()) if PINNED.is_file() else {}
    for tag, digest in found.items():
        if not _DIGEST.fullmatch(digest):
            raise ImageError(f"{PINNED.name}: {digest!r} is not a digest of {tag}")
    return found


def fetch_digest(tag: str) -> str:
    """Ask the registry for the current digest of a tag. Raises ImageError."""
    command = ["buildx", "imagetools", "inspect", tag, "--format", "{{.Manifest.Digest}}"]
    output = _run("docker", *command, deadline=REGISTRY_DEADLINE)
    found = _DIGEST.search(output)
    if found is None:
        raise ImageError(f"no digest of {tag} in: {output.strip()[:200]}")
    return found.group()


def build_arguments(names: Mapping[str, str], digests: Mapping[str, str]) -> list[str]:
    """Return the `docker build` arguments that pin every base. Raises ImageError for one without a digest."""
    missing = sorted(set(names.values()) - set(digests))
    if missing:
        raise ImageError(f"not pinned: {', '.join(missing)}. Run python -m deploy.images pin, or build with --unpinned")
    return [part for name, tag in names.items() for part in ("--build-arg", f"{name}={tag}@{digests[tag]}")]


def build(target: str, tag: str, *, unpinned: bool) -> None:
    """Build one of our images. Raises ImageError."""
    names = bases(DOCKERFILE.read_text())
    pins = [] if unpinned else build_arguments(names, pinned())
    commit = ("--build-arg", f"MEDIA_COMMIT={_run('git', '-C', str(ROOT), 'rev-parse', 'HEAD', deadline=10.0).strip()}")
    named = ("--file", str(DOCKERFILE), "--target", target, "--tag", tag)
    _run("docker", "build", *named, *pins, *commit, str(ROOT), deadline=BUILD_DEADLINE)


def sbom(tag: str) -> str:
    """Return the bill of materials of a built image. Raises ImageError."""
    container = _run("docker", "create", tag, deadline=REGISTRY_DEADLINE).strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
            if export.stdout is None:
                raise RuntimeError("the export is started with a pipe")
            return bill_of_materials(components(export.stdout))
    except tarfile.TarError as error:
        raise ImageError(f"docker export {tag}: {error}") from error
    finally:
        _run("docker", "rm", container, deadline=REGISTRY_DEADLINE)


def pin() -> None:
    """Write the current digests. Raises ImageError, and then writes nothing."""
    digests = {tag: fetch_digest(tag) for tag in sorted(set(bases(DOCKERFILE.read_text()).values()))}
    PINNED.write_text(json.dumps(digests, indent=2) + "\n")


def _run(program: str, *arguments: str, deadline: float) -> str:
    try:
        ended = subprocess.run([program, *arguments], check=False, capture_output=True, text=True, timeout=deadline)
    except FileNotFoundError as error:
        raise ImageError(f"{program} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"{program} {arguments[0]} has not ended within {deadline:.0f} s") from error
    if ended.returncode:
        raise ImageError(f"{program} {' '.join(arguments[:3])}: {ended.stderr.strip()[-500:]}")
    return ended.stdout


def main(arguments: list[str]) -> int:
    """Pin, build or list; exit status 0 done, 1 refused, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m deploy.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("pin", help="write the current digests to deploy/bases.json")
    building = commands.add_parser("build", help="build one of our images from the pinned bases")
    building.add_argument("target", choices=["service", "scanner"])
    building.add_argument("tag")
    building.add_argument("--unpinned", action="store_true", help="use whatever the tags point to now")
    listing = commands.add_parser("sbom", help="print the bill of materials of a built image, from its layers")
    listing.add_argument("tag")
    options = parser.parse_args(arguments)
    try:
        if options.command == "pin":
            pin()
        elif options.command == "sbom":
            sys.stdout.write(sbom(options.tag))
        else:
            build(options.target, options.tag, unpinned=options.unpinned)
    except ImageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
