"""Dead letters for the operator's page: counted by reason, and sent back. Looking holds letters back from others,
so one look at a time, and its answer is good for a while.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from media.dead_letters.browser import Browser
from media.dead_letters.letters import DeadLetter, Selection
from media.dead_letters.moves import Pace, move_one_by_one
from media.message_queue import Depth, MessageQueues

LOOKED_AT = 200
"""Letters of one queue looked at, at most."""
LOOK_DEADLINE = 8.0
"""Seconds for one look; what was seen until then counts."""
FRESH = 15.0
"""Seconds that an answer is good for."""
MOVE_DEADLINE = 12.0
"""Seconds that one redrive goes on for; below the deadline of a request."""


@dataclass(frozen=True, slots=True)
class Reasons:
    """How many letters died of what, as (code, reason); `looked_at` is how many were seen."""

    counts: dict[tuple[str, str], int]
    looked_at: int


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue with its dead letters."""

    name: str
    depth: Depth
    dead: int
    reasons: Reasons


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of a redrive."""

    moved: int
    finished: bool


_NONE = Reasons({}, 0)


class DeadLetterDesk:
    """Every method raises UnavailableError when SQS is away."""

    def __init__(
        self, queues: MessageQueues, names: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queues = queues
        self._names = names
        self._clock = clock
        self._locks = {name: asyncio.Lock() for name in names}
        self._seen: dict[str, tuple[float, int, Reasons]] = {}

    async def states(self) -> list[QueueState]:
        """All queues."""
        return await asyncio.gather(*(self._state(name) for name in self._names))

    async def _state(self, name: str) -> QueueState:
        dead = self._queues.dead_letters(name)
        depth, buried = await asyncio.gather(self._queues[name].depth(), dead.depth())
        count = buried.visible + buried.in_flight
        return QueueState(name, depth, count, await self._reasons(name, count) if count else _NONE)

    async def _reasons(self, name: str, count: int) -> Reasons:
        async with self._locks[name]:
            found = self._seen.get(name)
            if found is None or self._clock() - found[0] > FRESH:
                found = self._clock(), count, await self._look(name)
                self._seen[name] = found
        return found[2]

    async def _look(self, name: str) -> Reasons:
        counts: Counter[tuple[str, str]] = Counter()
        stop = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(LOOK_DEADLINE, stop.set)
        try:
            async with Browser(self._queues.dead_letters(name), stop) as browser:
                async for letter in browser.letters(Selection()):
                    counts[letter.error, letter.kind[:200]] += 1
                    if counts.total() >= LOOKED_AT:
                        stop.set()
        finally:
            timer.cancel()
        return Reasons(dict(counts.most_common()), counts.total())

    async def redrive(self, name: str, reason: str | None) -> Redriven:
        """Send letters back to their queue for MOVE_DEADLINE seconds at most; none is lost, whatever happens."""
        moved: list[DeadLetter] = []
        stop = asyncio.Event()
        async with self._locks[name]:
            timer = asyncio.get_running_loop().call_later(MOVE_DEADLINE, stop.set)
            dead, source = self._queues.dead_letters(name), self._queues[name]
            try:
                await move_one_by_one(dead, source, Selection(reason), Pace(), stop, moved.append)
            finally:
                timer.cancel()
                self._seen.pop(name, None)
        return Redriven(len(moved), finished=not stop.is_set())
