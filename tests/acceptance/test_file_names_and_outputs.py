"""`process` with unusual names, paths and outputs: every file has its row, and the exit status is right."""

import os
from pathlib import Path

import pytest

from tests.acceptance.conftest import Process, command_line, jpeg
from tests.conftest import EmbeddedStack

NAMES = [
    b"caf\xe9.jpg",
    "café 😀.jpg".encode(),
    b"new\nline.jpg",
    b"a#b?c%20d,e+f;g&h=i'j\"k.jpg",
    b"escape\x1b[31m.jpg",
    b"C#/%2F/a,b.jpg",
    b"\xff\xfe",
    b"twice/x.jpg",
    b"again/x.jpg",
]


def pictures(folder: Path, names: list[bytes]) -> list[Path]:
    paths = [folder / os.fsdecode(name) for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(200, 100))
    return paths


async def test_every_name_is_processed(process: Process, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"out \xe9#%20\n")
    outcome = await process("--json", "--out", out, *pictures(tmp_path, NAMES))
    assert outcome.status == 0, outcome.stderr
    assert [one.file.name for one in outcome.files][:3] == ["caf\ufffd.jpg", "café 😀.jpg", "new\nline.jpg"]
    assert {one.status for one in outcome.files} == {"ready"}
    assert len(list(out.glob("*/w150.webp"))) == len(NAMES)


async def test_invisible_name_fails(process: Process, tmp_path: Path) -> None:
    outcome = await process("--json", *pictures(tmp_path, ["\u200b".encode()]))
    (one,) = outcome.files
    assert (outcome.status, one.status, one.code) == (1, "failed", "invalid_request")


async def test_recording_with_an_unusual_name_arrives(process: Process, tmp_path: Path) -> None:
    outcome = await process("--json", "--as", "recording", *pictures(tmp_path, [b"caf\xe9\n#.jpg"]))
    assert outcome.status == 0, outcome.stderr
    assert outcome.files[0].code == "type_mismatch", "the scan has seen it"


async def test_an_ascii_terminal_gets_the_table(stack: EmbeddedStack, tmp_path: Path) -> None:
    paths = pictures(tmp_path, NAMES[:3])
    outcome = await command_line('"$@"', "process", *paths, state=stack.state, LC_ALL="C", PYTHONIOENCODING="ascii")
    assert outcome.status == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert len(lines) == 1 + len(paths)
    assert all(" ready " in line for line in lines[1:])


async def test_closed_standard_output_is_reported(stack: EmbeddedStack, tmp_path: Path) -> None:
    (path,) = pictures(tmp_path, [b"x.jpg"])
    unread = await command_line('set -o pipefail; "$@" | true', "process", path, state=stack.state)
    assert (unread.status, unread.stderr) == (1, "run.sh: the output was closed before all results were written\n")
    full = await command_line('"$@" >/dev/full', "token", state=stack.state)
    assert (full.status, full.stderr) == (1, "run.sh: the results cannot be written: No space left on device\n")
    closed = await command_line('"$@" >&- 2>&-', "process", path, state=stack.state)
    assert (closed.status, closed.stderr) == (0, "")


async def test_a_full_disk_fails_the_file_and_leaves_no_part(stack: EmbeddedStack, tmp_path: Path) -> None:
    (path,) = pictures(tmp_path, [b"x.jpg"])
    out = tmp_path / "out"
    full = await command_line('prlimit --fsize=100 "$@"', "process", "--out", out, path, state=stack.state)
    assert full.status == 1, full.stderr
    assert full.stdout.splitlines()[1].split()[1:4] == ["image", "failed", "OSError"]
    assert [found for found in out.rglob("*") if found.is_file()] == []


@pytest.mark.parametrize("out", ["/proc/x", "/dev/null"])
async def test_a_folder_that_cannot_be_made_is_wrong_usage(tmp_path: Path, out: str) -> None:
    (path,) = pictures(tmp_path, [b"x.jpg"])
    outcome = await command_line('"$@"', "process", "--out", out, path, state=tmp_path / "state")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert out in outcome.stderr
    assert not (tmp_path / "state").exists()


async def test_path_that_is_no_file_is_wrong_usage(tmp_path: Path) -> None:
    pipe = tmp_path / os.fsdecode(b"pipe\xe9\n")
    os.mkfifo(pipe)
    outcome = await command_line('"$@"', "process", pipe, "/dev/zero", tmp_path, state=tmp_path / "state")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert all(name in outcome.stderr for name in ("pipe\ufffd\ufffd", "/dev/zero", str(tmp_path)))
