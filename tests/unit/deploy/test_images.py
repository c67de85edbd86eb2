"""Base images are pinned by digest, else a build is refused."""

import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from deploy import images
from media.schema.apply import SCHEMA
from media.schema.parts import PARTS

DIGEST = "sha256:" + "ab" * 32
DOCKER = """#!/bin/sh
printf '%s\\n' "$*" >> "$(dirname "$0")/calls"
case "$1" in buildx) echo "{digest}" ;; esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of calls to a fake `docker` that knows one digest."""
    program = tmp_path / "docker"
    program.write_text(DOCKER.format(digest=DIGEST))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(images, "PINNED", tmp_path / "bases.json")
    return tmp_path / "calls"


def test_a_build_uses_the_pinned_digests(calls: Path) -> None:
    assert images.main(["pin"]) == 0
    assert json.loads(images.PINNED.read_text()) == {
        "python:3.12-slim-trixie": DIGEST,
    }
    assert images.main(["build", "service", "media:1"]) == 0
    built = calls.read_text().splitlines()[-1]
    assert f"--build-arg PYTHON_BASE=python:3.12-slim-trixie@{DIGEST}" in built
    assert "--target service --tag media:1" in built
    assert re.search(r"--build-arg MEDIA_COMMIT=[0-9a-f]{40} ", built)


def test_a_build_without_digests_needs_the_option_unpinned(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert images.main(["build", "service", "media:1"]) == 1
    assert "deploy.images pin" in capsys.readouterr().err
    assert not calls.exists()
    assert images.main(["build", "service", "media:1", "--unpinned"]) == 0
    assert "BASE=" not in calls.read_text()


def test_a_failed_registry_query_changes_nothing(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (calls.parent / "docker").write_text("#!/bin/sh\necho no such manifest >&2\nexit 1\n")
    assert images.main(["pin"]) == 1
    assert "no such manifest" in capsys.readouterr().err
    assert not images.PINNED.exists()


def add_file(archive: tarfile.TarFile, name: str, content: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content.encode()))


def test_the_bill_of_materials_is_taken_from_the_layers(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packages = {"tini": "install ok installed", "libx": "install ok installed", "gone": "deinstall ok config-files"}
    status = "".join(f"Package: {name}\nStatus: {state}\nVersion: 1-2\n\n" for name, state in packages.items())
    site = "opt/venv/lib/python3.12/site-packages"
    with tarfile.open(calls.parent / "image.tar", "w") as archive:
        add_file(archive, "usr/share/doc/tini/copyright", "Files: *\nLicense: Expat\n\nFiles: x\nLicense: GPL-2+\n")
        link = tarfile.TarInfo("usr/share/doc/libx")
        link.type, link.linkname = tarfile.SYMTYPE, "tini"
        archive.addfile(link)
        add_file(archive, "var/lib/dpkg/status", status)
        add_file(archive, f"{site}/six-1.0.dist-info/METADATA", "Name: six\nVersion: 1.0\nLicense: MIT\n\nText\n")
        add_file(archive, f"{site}/pillow.libs/libtiff-fc87e79d.so.6.2.0", "\x7fELF")
    (calls.parent / "docker").write_text(
        f"#!/bin/sh\ntest $1 != export || exec cat {calls.parent}/image.tar\necho id\n"
    )
    assert images.main(["sbom", "media:1"]) == 0
    found = {
        (part["name"], part["version"], part["licenses"][0]["license"]["name"], part.get("purl"))
        for part in json.loads(capsys.readouterr().out)["components"]
    }
    assert found == {
        ("tini", "1-2", "Expat AND GPL-2+", "pkg:deb/debian/tini@1-2"),
        ("libx", "1-2", "Expat AND GPL-2+", "pkg:deb/debian/libx@1-2"),
        ("six", "1.0", "MIT", "pkg:pypi/six@1.0"),
        ("tiff", "6.2.0", "libtiff", None),
    }


def test_every_stage_uses_a_base_that_can_be_pinned() -> None:
    text = images.DOCKERFILE.read_text()
    stages = re.findall(r"(?m)^FROM (\S+)(?: AS (\w+))?", text)
    names = {name for _, name in stages}
    assert {base for base, _ in stages} - names == {f"${{{name}}}" for name in images.bases(text)}


@pytest.mark.parametrize("path", [SCHEMA, PARTS], ids=lambda path: path.name)
def test_the_image_contains_the_data_files_of_the_code(path: Path) -> None:
    top = path.relative_to(images.ROOT).parts[0]
    copied = re.findall(r"(?m)^COPY (.+) /app/\w*$", images.DOCKERFILE.read_text())
    assert top in " ".join(copied).split()
    assert f"!{top}" in (images.ROOT / ".dockerignore").read_text().splitlines()


def test_the_committed_digests_belong_to_the_bases() -> None:
    found = images.pinned()
    assert not found or set(found) == set(images.bases(images.DOCKERFILE.read_text()).values())
