"""Work on a stream's bytes in threads, while the next ones come: to wait for every piece would cost more."""

import asyncio
from collections.abc import Callable, Sequence

BATCH = 4 * 1024 * 1024
"""Bytes worked on at once. Twice as many are held at most."""


class Batches:
    """Collects pieces, and has `work` called with a batch of them at a time, in their order."""

    def __init__(self, work: Callable[[Sequence[bytes]], None]) -> None:
        self._work = work
        self._batch: list[bytes] = []
        self._held = 0
        self._working: asyncio.Future[None] | None = None

    async def add(self, piece: bytes) -> None:
        """Add a piece. Raises what an earlier batch raised."""
        self._batch.append(piece)
        self._held += len(piece)
        if self._held >= BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Start on what was collected, once the batch before it is done. Raises what that one raised."""
        if self._working:
            await self._working
        batch, self._batch, self._held = self._batch, [], 0
        self._working = asyncio.get_running_loop().run_in_executor(None, self._work, batch)

    async def finish(self) -> None:
        """Wait until no thread works any more, also when canceled before. Raises what the last batch raised."""
        if self._working:
            await self._working
