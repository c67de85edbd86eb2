"""A process's folder is removed at its end, or when the next process starts."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from handlers.process_tempdir import process_tempdir

PREFIX = "media-consumer-"
_HOLDER = """
import subprocess, sys
from pathlib import Path
from handlers.process_tempdir import process_tempdir
with process_tempdir(sys.argv[1], Path(sys.argv[2])) as folder:
    (folder / "image-1").mkdir()
    (folder / "image-1/source").write_bytes(b"an original")
    print(folder, flush=True)
    subprocess.run(["cat"], stdout=subprocess.DEVNULL)  # as a child does, until its input ends
"""


def entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@asynccontextmanager
async def holder_process(parent: Path) -> AsyncIterator[tuple[Path, asyncio.subprocess.Process]]:
    """Run another process that works in its folder."""
    root = Path(__file__).parents[3]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _HOLDER,
        PREFIX,
        str(parent),
        cwd=root,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    try:
        async with asyncio.timeout(20):
            yield Path((await process.stdout.readline()).decode().strip()), process
    finally:
        process.stdin.close()
        await process.wait()


async def test_the_folder_is_private_and_removed_with_its_content(tmp_path: Path) -> None:
    with process_tempdir(PREFIX, tmp_path) as folder:
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "image-1").mkdir()
    assert not entries(tmp_path)


async def test_the_next_process_removes_a_killed_one_s_folder(tmp_path: Path) -> None:
    async with holder_process(tmp_path) as (left, process):
        process.kill()
        await process.wait()
        assert (left / "image-1/source").exists()
        with process_tempdir(PREFIX, tmp_path) as folder:
            assert entries(tmp_path) == [folder], "even while a child of the killed one lives"


async def test_a_living_process_s_folder_stays(tmp_path: Path) -> None:
    async with holder_process(tmp_path) as (theirs, _):
        with process_tempdir(PREFIX, tmp_path), process_tempdir(PREFIX, tmp_path):
            assert (theirs / "image-1/source").exists()
    assert not entries(tmp_path)


async def test_folders_without_our_marker_stay(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    (outside / "precious").mkdir(parents=True)
    (tmp_path / f"{PREFIX}link").symlink_to(outside)
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}notes").mkdir()
    (tmp_path / f"{PREFIX}notes/precious").touch()
    with process_tempdir(PREFIX, tmp_path) as folder:
        pass
    assert not folder.exists()
    assert (tmp_path / f"{PREFIX}notes/precious").exists()
    assert (outside / "precious").exists()
    assert (tmp_path / f"{PREFIX}file").exists()


async def test_processes_that_start_together_keep_their_folders(tmp_path: Path) -> None:
    def work() -> None:
        for _ in range(20):
            with process_tempdir(PREFIX, tmp_path) as folder:
                (folder / "file").write_bytes(b"x")
                assert (folder / "file").exists()

    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(4)))
    assert not entries(tmp_path)
