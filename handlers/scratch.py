"""Work folders that are removed afterwards, in threads: to unlink a film would block the event loop."""

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from handlers.sandbox import ByteBudget
from media.errors import Code, RetryableError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The errors of a full disk."""
RETRY_AFTER = 30.0
"""Seconds until work that found the disk full is tried again. Meanwhile other work ends and frees its bytes."""
LITTLE = 64 * 1024 * 1024
"""Free bytes below which a report of a full disk is believed: a moment ago it may have been full."""


@asynccontextmanager
async def scratch_folder(prefix: str, parent: Path | None = None, *, room: int = 0) -> AsyncIterator[Path]:
    """Make a new, empty, private folder below `parent`, else below the system's, and remove it afterwards.

    Waits until `room` bytes are free of reservations in this process, in the order of requests; a request for more
    than the disk has waits until it is alone. Raises OSError, and for a disk that is full, now or while the folder is
    in use, RetryableError that counts no attempt: the file is not at fault.
    """
    where = parent or Path(gettempdir())
    room_of(where).renew((await asyncio.to_thread(shutil.disk_usage, where)).free)
    async with room_of(where).reserve(room):
        try:
            folder = await asyncio.to_thread(partial(TemporaryDirectory, prefix=prefix, dir=parent))
            try:
                yield Path(folder.name)
            finally:
                await asyncio.to_thread(folder.cleanup)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise no_room() from error


@cache
def room_of(parent: Path) -> ByteBudget:  # noqa: ARG001 - the cache keeps one for each
    """Return the budget of the disk below `parent`: the bytes that were free when nothing was reserved."""
    return ByteBudget(0)


def no_room() -> RetryableError:
    """Make the error for a full disk: the work is tried again, without a limit, when other work has ended."""
    return RetryableError(
        Code.WORKER_CRASHED, "the disk to work on is full", retry_after=RETRY_AFTER, counts_as_attempt=False
    )


def is_full(folder: Path) -> bool:
    """Tell whether so few bytes are free that a report of a full disk is credible. Raises OSError."""
    return shutil.disk_usage(folder).free < LITTLE
