"""Work folders: they are removed afterwards, and a full disk counts no attempt."""

import asyncio
import os
from pathlib import Path

import pytest

from handlers.scratch import room_of, scratch_folder
from media.errors import RetryableError


async def work(parent: Path, target: str) -> None:
    """Write to the folder and to `target`."""
    async with scratch_folder("work-", parent) as folder:
        assert folder.stat().st_mode & 0o077 == 0, "no other user may look in"
        (folder / "deep").mkdir()
        (folder / "deep/file").write_bytes(b"x")
        (folder / target).write_bytes(b"x")


async def test_the_folder_is_removed_with_its_content(tmp_path: Path) -> None:
    await work(tmp_path, "file")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - one look, at once


async def test_a_full_disk_counts_no_attempt(tmp_path: Path) -> None:
    with pytest.raises(RetryableError, match="disk") as caught:
        await work(tmp_path, "/dev/full")  # the device that is always full
    assert not caught.value.counts_as_attempt
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - one look, at once


async def test_any_other_error_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await work(tmp_path / "missing", "file")


async def test_jobs_together_reserve_no_more_than_the_disk_has(tmp_path: Path) -> None:
    await work(tmp_path, "file")
    total = room_of(tmp_path).total
    order: list[str] = []
    may_end = asyncio.Event()

    async def use(name: str, room: int) -> None:
        async with scratch_folder(name, tmp_path, room=room):
            order.append(name)
            await may_end.wait()

    first = asyncio.ensure_future(use("first", total * 2 // 3))
    async with asyncio.timeout(10):
        while not order:  # noqa: ASYNC110 - it makes its folder in a thread
            await asyncio.sleep(0.01)
    waiting = []
    for name, room in (("large", total // 2), ("small", 1), ("canceled", 1)):
        waiting.append(asyncio.ensure_future(use(name, room)))
        async with asyncio.timeout(10):
            while room_of(tmp_path).waiting < len(waiting):  # noqa: ASYNC110 - it looks at the disk in a thread
                await asyncio.sleep(0.01)
    large, small, canceled = waiting
    canceled.cancel()
    assert order == ["first"], "the small one does not overtake the large one"
    may_end.set()
    await asyncio.gather(first, large, small)
    assert sorted(order) == ["first", "large", "small"]
    assert room_of(tmp_path).used == 0
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - one look, at once
