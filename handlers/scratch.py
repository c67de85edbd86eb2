"""Folders to work in that go when the work is done, without holding up the event loop: a film is long to unlink."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory


@asynccontextmanager
async def scratch_folder(prefix: str, parent: Path | None = None) -> AsyncIterator[Path]:
    """A new, empty, private folder below `parent` (else where the platform keeps such). Raises OSError."""
    folder = await asyncio.to_thread(partial(TemporaryDirectory, prefix=prefix, dir=parent))
    try:
        yield Path(folder.name)
    finally:
        await asyncio.to_thread(folder.cleanup)
