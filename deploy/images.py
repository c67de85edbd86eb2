"""Pins the images that ours are built from, and builds ours from exactly those.

`python -m deploy.images pin` asks the registries what the tags of deploy/Dockerfile mean today and writes the digests
to deploy/bases.json, for a commit. `python -m deploy.images build TARGET TAG` builds from what is written there and
refuses where nothing is, unless `--unpinned` says that this is wanted. Both need a Docker engine, `pin` a registry too.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PINNED = ROOT / "deploy" / "bases.json"
"""Digests by tag. Not there until somebody with a registry has asked it."""
ASK_DEADLINE = 300.0
BUILD_DEADLINE = 3600.0
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ImageError(Exception):
    """What the engine refuses, or what is not pinned."""


def bases(text: str) -> dict[str, str]:
    """The tags that a Dockerfile begins with, by the build argument that replaces them."""
    return dict(re.findall(r"(?m)^ARG (\w*BASE)=(\S+)$", text.partition("\nFROM ")[0]))


def pinned() -> dict[str, str]:
    """Digests by tag. Raises ImageError for what is none."""
    found: dict[str, str] = json.loads(PINNED.read_text()) if PINNED.is_file() else {}
    for tag, digest in found.items():
        if not _DIGEST.fullmatch(digest):
            raise ImageError(f"{PINNED.name}: {digest!r} is no digest of {tag}")
    return found


def asked(tag: str) -> str:
    """The digest that a registry has for a tag today. Raises ImageError."""
    said = _docker("buildx", "imagetools", "inspect", tag, "--format", "{{.Manifest.Digest}}", deadline=ASK_DEADLINE)
    found = _DIGEST.search(said)
    if found is None:
        raise ImageError(f"no digest of {tag} in: {said.strip()[:200]}")
    return found.group()


def arguments_of(names: Mapping[str, str], digests: Mapping[str, str]) -> list[str]:
    """What `docker build` is told, for every base. Raises ImageError for one that is not pinned."""
    missing = sorted(set(names.values()) - set(digests))
    if missing:
        raise ImageError(f"not pinned: {', '.join(missing)}. Run python -m deploy.images pin, or build with --unpinned")
    return [part for name, tag in names.items() for part in ("--build-arg", f"{name}={tag}@{digests[tag]}")]


def build(target: str, tag: str, *, unpinned: bool) -> None:
    """Build one of our images. Raises ImageError."""
    names = bases(DOCKERFILE.read_text())
    given = [] if unpinned else arguments_of(names, pinned())
    _docker(
        "build", "--file", str(DOCKERFILE), "--target", target, "--tag", tag, *given, str(ROOT), deadline=BUILD_DEADLINE
    )


def pin() -> None:
    """Write down the digests of today. Raises ImageError; nothing is written then."""
    digests = {tag: asked(tag) for tag in sorted(set(bases(DOCKERFILE.read_text()).values()))}
    PINNED.write_text(json.dumps(digests, indent=2) + "\n")


def _docker(*arguments: str, deadline: float) -> str:
    try:
        ended = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, timeout=deadline)
    except FileNotFoundError as error:
        raise ImageError("there is no docker") from error
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"docker {arguments[0]} has not ended within {deadline:.0f} s") from error
    if ended.returncode:
        raise ImageError(f"docker {' '.join(arguments[:3])}: {ended.stderr.strip()[-500:]}")
    return ended.stdout


def main(arguments: list[str]) -> int:
    """Exit status 0 done, 1 refused, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m deploy.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("pin", help="write the digests of today to deploy/bases.json")
    building = commands.add_parser("build", help="build one of our images from them")
    building.add_argument("target", choices=["service", "scanner"])
    building.add_argument("tag")
    building.add_argument("--unpinned", action="store_true", help="from whatever the tags mean now")
    options = parser.parse_args(arguments)
    try:
        if options.command == "pin":
            pin()
        else:
            build(options.target, options.tag, unpinned=options.unpinned)
    except ImageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
