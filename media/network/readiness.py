"""Ask everything that the work needs whether it answers, for /readyz."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

DEADLINE = 8.0
"""Seconds that each dependency has to answer, as long as the work gives it: a busy one is slow, and is not away."""
DEADLINE_AWAY = 4.0
"""Seconds that one has which did not answer last: a call that began in an outage may hang on after it."""
MAX_WAIT = 1.0
"""Seconds for which a caller waits. Those who ask for our readiness have deadlines of two seconds and more."""
REMEMBERED = 2.0
"""Seconds for which answers are given again, so that frequent callers cost nothing."""

type Ask = Callable[[], Awaitable[object]]
"""Asks one dependency. Returns False or raises when it does not answer, and returns anything else when it does."""


class InTurn:
    """Makes one of several calls each time it is asked. One that fails is made again until it succeeds."""

    def __init__(self, calls: Sequence[Ask]) -> None:
        self._calls = deque(calls)

    async def __call__(self) -> bool:
        if await self._calls[0]() is False:
            return False
        self._calls.rotate(-1)
        return True


class Readiness:
    """Asks dependencies, all at once. `asks` maps the reason that callers read when one is absent to its call.

    A dependency that has not answered within MAX_WAIT counts as in the round before; in the first round as absent.
    """

    def __init__(self, asks: Mapping[str, Ask]) -> None:
        self._asks = asks
        self._is_there = dict.fromkeys(asks, False)
        self._deadlines = dict.fromkeys(asks, DEADLINE)
        self._round: asyncio.Future[list[None]] | None = None
        self._asked = -REMEMBERED

    async def reasons(self) -> list[str]:
        """Return the reasons of the dependencies that do not answer; none when the service is ready."""
        if self._round is None or (self._round.done() and time.monotonic() >= self._asked + REMEMBERED):
            self._asked = time.monotonic()
            self._round = asyncio.gather(*(self._ask(name) for name in self._asks))
        await asyncio.wait({self._round}, timeout=MAX_WAIT)
        return [name for name, is_there in self._is_there.items() if not is_there]

    async def _ask(self, name: str) -> None:
        try:
            async with asyncio.timeout(self._deadlines[name]):
                self._is_there[name] = await self._asks[name]() is not False
        except Exception:  # noqa: BLE001 - whatever the failure, it does not answer
            self._is_there[name] = False
        self._deadlines[name] = DEADLINE if self._is_there[name] else DEADLINE_AWAY
