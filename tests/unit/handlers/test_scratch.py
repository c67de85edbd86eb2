"""Folders to work in: gone afterwards, and a full disk is nobody's fault."""

import os
from pathlib import Path

import pytest

from handlers.scratch import scratch_folder
from media.errors import RetryableError


async def work(parent: Path, target: str) -> None:
    """Write to the folder and to `target`."""
    async with scratch_folder("work-", parent) as folder:
        assert folder.stat().st_mode & 0o077 == 0, "nobody else looks in"
        (folder / "deep").mkdir()
        (folder / "deep/file").write_bytes(b"x")
        (folder / target).write_bytes(b"x")


async def test_it_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    await work(tmp_path, "file")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - one look, at once


async def test_a_full_disk_counts_no_attempt(tmp_path: Path) -> None:
    with pytest.raises(RetryableError, match="disk") as caught:
        await work(tmp_path, "/dev/full")  # the device that is always full
    assert not caught.value.counted
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - one look, at once


async def test_any_other_fault_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await work(tmp_path / "missing", "file")
