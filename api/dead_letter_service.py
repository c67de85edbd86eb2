"""Dead letters for the operator's page: counted by reason, and sent back.

A look hides messages from others, so there is one look at a time, and its answer is kept for a while.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from media.aws.sqs import MessageQueues, QueueDepth
from media.dead_letters.browser import DeadLetterBrowser
from media.dead_letters.dead_letter import ReasonGroups, Selection
from media.dead_letters.moves import Pace, move_one_by_one

LOOK_LIMIT = 200
"""Messages of one dead-letter queue looked at, at most."""
LOOK_DEADLINE = 8.0
"""Seconds for one look. What was seen until then counts."""
MAX_AGE = 15.0
"""Seconds for which an answer is kept while the queue's count stays the same."""
MAX_AGE_CHANGED = 3.0
"""Seconds for which it is kept when the count has changed since."""
MOVE_DEADLINE = 12.0
"""Seconds for which one redrive goes on, below the deadline of a request."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue with its dead letters."""

    name: str
    depth: QueueDepth
    dead: int
    reasons: ReasonGroups


@dataclass(frozen=True, slots=True)
class Redriven:
    """What a redrive did. One that is not `finished` was cut short: more may be there that is meant."""

    moved: int
    finished: bool


class DeadLetterService:
    """Counts and redrives dead letters. Every method raises UnavailableError when SQS is away."""

    def __init__(
        self, queues: MessageQueues, names: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queues = queues
        self._names = names
        self._clock = clock
        self._locks = {name: asyncio.Lock() for name in names}
        self._seen: dict[str, tuple[float, int, ReasonGroups]] = {}

    async def states(self) -> list[QueueState]:
        """Describe all queues."""
        return await asyncio.gather(*(self._state(name) for name in self._names))

    async def _state(self, name: str) -> QueueState:
        dead = self._queues.dead_letters(name)
        depth, dead_depth = await asyncio.gather(self._queues[name].depth(), dead.depth())
        count = dead_depth.visible + dead_depth.in_flight
        return QueueState(name, depth, count, await self._reasons(name, count) if count else ReasonGroups())

    async def _reasons(self, name: str, count: int) -> ReasonGroups:
        async with self._locks[name]:
            found = self._seen.get(name)
            max_age = MAX_AGE if found and found[1] == count else MAX_AGE_CHANGED
            if found is None or self._clock() - found[0] > max_age:
                found = self._clock(), count, await self._look(name)
                self._seen[name] = found
        return found[2]

    async def _look(self, name: str) -> ReasonGroups:
        reasons = ReasonGroups()
        stop = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(LOOK_DEADLINE, stop.set)
        try:
            async with DeadLetterBrowser(self._queues.dead_letters(name), stop) as browser:
                async for dead_letter in browser.dead_letters(Selection()):
                    reasons.add(dead_letter)
                    if reasons.total >= LOOK_LIMIT:
                        stop.set()
        finally:
            timer.cancel()
        return reasons

    async def redrive(self, name: str, selection: Selection) -> Redriven:
        """Send dead letters back to their queue for MOVE_DEADLINE seconds at most; none is lost, whatever happens."""
        moved = ReasonGroups()
        stop = asyncio.Event()
        async with self._locks[name]:
            timer = asyncio.get_running_loop().call_later(MOVE_DEADLINE, stop.set)
            dead, source = self._queues.dead_letters(name), self._queues[name]
            try:
                truncated = await move_one_by_one(dead, source, selection, Pace(), stop, moved.add)
            finally:
                timer.cancel()
                self._seen.pop(name, None)
        return Redriven(moved.total, finished=not (truncated or stop.is_set()))
