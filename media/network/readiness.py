"""Ask everything that the work needs whether it answers, for /readyz."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

DEADLINE = 2.0
"""Seconds that each dependency has to answer. Less than the deadline of whoever asks for our readiness."""
REMEMBERED = 2.0
"""Seconds for which an answer is given again, so that whoever asks often costs nothing."""

type Ask = Callable[[], Awaitable[object]]
"""Returns anything but False when the dependency answers. Returns False or raises when it does not."""


class Readiness:
    """Asks dependencies, all at once. They are named by what to say of one that does not answer."""

    def __init__(self, asks: Mapping[str, Ask]) -> None:
        self._asks = asks
        self._asking = asyncio.Lock()
        self._reasons: list[str] = []
        self._until = 0.0

    async def reasons(self) -> list[str]:
        """Return the names of those that do not answer."""
        async with self._asking:
            if time.monotonic() >= self._until:
                answered = await asyncio.gather(*(self._answers(ask) for ask in self._asks.values()))
                self._reasons = [name for name, is_there in zip(self._asks, answered, strict=True) if not is_there]
                self._until = time.monotonic() + REMEMBERED
            return list(self._reasons)

    async def _answers(self, ask: Ask) -> bool:
        try:
            async with asyncio.timeout(DEADLINE):
                return await ask() is not False
        except Exception:  # noqa: BLE001 - whatever the failure, it does not answer
            return False
