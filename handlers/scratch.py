"""Folders to work in that go when the work is done, without holding up the event loop: a film is long to unlink."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from media.errors import Code, RetryableError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
PATIENCE = 30.0
"""Seconds until work that found the disk full is tried again: others finish, and give their room back."""


@asynccontextmanager
async def scratch_folder(prefix: str, parent: Path | None = None) -> AsyncIterator[Path]:
    """A new, empty, private folder below `parent` (else where the platform keeps such). Raises OSError.

    A disk that is full, now or while the folder is worked in, is not the file's fault: RetryableError, not counted.
    """
    try:
        folder = await asyncio.to_thread(partial(TemporaryDirectory, prefix=prefix, dir=parent))
        try:
            yield Path(folder.name)
        finally:
            await asyncio.to_thread(folder.cleanup)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise RetryableError(
            Code.WORKER_CRASHED, "the disk to work on is full", after=PATIENCE, counted=False
        ) from error
