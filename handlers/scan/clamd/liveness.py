"""Checks that a clamd which is silent during a scan is still alive: a scan may be long, a lost network never answers.

clamd answers PING at once, from the thread that accepts connections, even when scans keep all other threads busy.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from handlers.scan.clamd.instream import Address, ask
from media.errors import Dependency, UnavailableError

INTERVAL = 2.0
"""Seconds of silence before a PING, and between two that are answered."""
TIMEOUT = 2.0
"""Seconds for the answer to a PING."""
MAX_MISSES = 2
"""PINGs in a row without an answer after which clamd counts as dead."""


class Liveness:
    """Pings one clamd while scans run on it. Scans share their PINGs."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._ping: asyncio.Task[bool] | None = None

    async def guard[T](self, work: Coroutine[Any, Any, T], given: asyncio.Event) -> T:
        """Run `work`, and return or raise its result. When clamd stops answering, cancel it and raise an error.

        Once `given` is set it is a TimeoutError: the file may be what made clamd stop. Before, it is UnavailableError.
        """
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=INTERVAL))[0]:
                if not await self.is_alive() and not task.done():
                    if not given.is_set():  # the file's first byte is still to come from S3, so it cannot be why
                        raise UnavailableError(
                            Dependency.CLAMD, f"{self._address} stopped answering before it was given the file"
                        )
                    raise TimeoutError(f"{self._address} has stopped answering")
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def is_alive(self) -> bool:
        """Return whether clamd answers PING."""
        # Scans that run at the same time share one PING, so that no one of them may cancel it.
        if self._ping is None or self._ping.done():
            self._ping = asyncio.create_task(self._answers())
        return await asyncio.shield(self._ping)

    async def _answers(self) -> bool:
        for _ in range(MAX_MISSES):
            with suppress(TimeoutError, UnavailableError):
                async with asyncio.timeout(TIMEOUT):
                    if await ask(self._address, "PING") == b"PONG":
                        return True
        return False
