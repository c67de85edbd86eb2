"""Folders to work in that go when the work is done, without holding up the event loop: a film is long to unlink."""

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
PATIENCE = 30.0
"""Seconds until work that found the disk full is tried again: others finish, and give their room back."""


LITTLE = 64 * 1024 * 1024
"""Bytes: with less free, a disk may well have been full a moment ago."""


@asynccontextmanager
async def scratch_folder(prefix: str, parent: Path | None = None, *, room: int = 0) -> AsyncIterator[Path]:
    """A new, empty, private folder below `parent` (else where the platform keeps such). Raises OSError.

    Waits until `room` bytes fit beside what others in this process have asked for, first come, first served; what is
    more than there ever was waits until nobody else works. A disk that is full, now or while the folder is worked in,
    is not the file's fault: RetryableError, not counted.
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
def room_of(parent: Path) -> ByteBudget:  # noqa: ARG001 - one for each, by the cache
    """What may be promised of the disk below `parent`: what was free when nobody worked there."""
    return ByteBudget(0)


def no_room() -> RetryableError:
    """The disk is full: it is tried again when others have finished, as often as it takes."""
    return RetryableError(
        Code.WORKER_CRASHED, "the disk to work on is full", retry_after=PATIENCE, counts_as_attempt=False
    )


def is_full(folder: Path) -> bool:
    """Whether so little is left there that who says that it was full may be believed. Raises OSError."""
    return shutil.disk_usage(folder).free < LITTLE
