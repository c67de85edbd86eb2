"""Whether a clamd that has been silent for a while still lives: a scan may be long, a lost network never answers.

clamd answers PING from the thread that accepts connections, at once, however many scans keep its others busy.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from handlers.scan.clamd.instream import Address, ask
from media.errors import UnavailableError

INTERVAL = 2.0
"""Seconds of silence before a PING, and between two that are answered."""
TIMEOUT = 2.0
"""Seconds for the answer."""
MAX_MISSES = 2
"""PINGs in a row without an answer, after which clamd counts as away."""


class Liveness:
    """The pulse of one clamd, felt only while somebody waits for it, and once for all who do."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._feeling: asyncio.Task[bool] | None = None

    async def beside[T](self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises. Raises TimeoutError, and cancels it, when the pulse is lost.

        As past a deadline, and not as when clamd is away: the file may be what made it stop.
        """
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=INTERVAL))[0]:
                # Felt once for all who ask at the same time.
                if self._feeling is None or self._feeling.done():
                    self._feeling = asyncio.create_task(self._feel())
                if not await asyncio.shield(self._feeling) and not task.done():
                    raise TimeoutError(f"{self._address} has stopped answering")
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _feel(self) -> bool:
        for _ in range(MAX_MISSES):
            with suppress(TimeoutError, UnavailableError):
                async with asyncio.timeout(TIMEOUT):
                    if await ask(self._address, "PING") == b"PONG":
                        return True
        return False
