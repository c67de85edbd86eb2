"""Dead letters for the operator's page: counted by reason, and sent back.

Receiving messages to count them hides them from others, so each queue is read by one request at a time and the counts
are cached.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from media.aws.sqs import MessageQueues, QueueDepth
from media.dead_letters.browser import DeadLetterBrowser
from media.dead_letters.dead_letter import ReasonGroups, Selection
from media.dead_letters.moves import Pace, move_in_batches

READ_LIMIT = 200
"""Messages that are read of one dead-letter queue, at most."""
READ_DEADLINE = 8.0
"""Seconds for reading one queue. The messages read until then are counted."""
MAX_AGE = 15.0
"""Seconds for which counts are cached while the queue's depth stays the same."""
MAX_AGE_CHANGED = 3.0
"""Seconds for which counts are cached once the queue's depth has changed."""
MOVE_DEADLINE = 12.0
"""Seconds for one redrive, below the deadline of a request."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue with its dead letters."""

    name: str
    depth: QueueDepth
    dead: int
    reasons: ReasonGroups


@dataclass(frozen=True, slots=True)
class Redriven:
    """The result of a redrive. If it is not `finished`, more messages may match the selection."""

    moved: int
    finished: bool


class DeadLetterService:
    """Count and redrive dead letters. Every method raises UnavailableError when SQS does not answer."""

    def __init__(
        self, queues: MessageQueues, names: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queues = queues
        self._names = names
        self._clock = clock
        self._locks = {name: asyncio.Lock() for name in names}
        self._counted: dict[str, tuple[float, int, ReasonGroups]] = {}
        """By queue: when it was read, its depth then, and the groups found."""

    async def states(self) -> list[QueueState]:
        """Describe all queues."""
        return await asyncio.gather(*(self._state(name) for name in self._names))

    async def _state(self, name: str) -> QueueState:
        dead = self._queues.dead_letters(name)
        depth, dead_depth = await asyncio.gather(self._queues[name].depth(), dead.depth())
        count = dead_depth.visible + dead_depth.in_flight
        if not count:
            return QueueState(name, depth, count, ReasonGroups())
        async with self._locks[name]:
            counted = self._counted.get(name)
            max_age = MAX_AGE if counted and counted[1] == count else MAX_AGE_CHANGED
            if counted is None or self._clock() - counted[0] > max_age:
                counted = self._clock(), count, await self._group_by_reason(name)
                self._counted[name] = counted
        return QueueState(name, depth, count, counted[2])

    async def _group_by_reason(self, name: str) -> ReasonGroups:
        reasons = ReasonGroups()
        stop = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(READ_DEADLINE, stop.set)
        try:
            async with DeadLetterBrowser(self._queues.dead_letters(name), stop) as browser:
                async for dead_letter in browser.dead_letters(Selection()):
                    reasons.add(dead_letter)
                    if reasons.total >= READ_LIMIT:
                        stop.set()
        finally:
            timer.cancel()
        return reasons

    async def redrive(self, name: str, selection: Selection) -> Redriven:
        """Send dead letters back to their queue, for MOVE_DEADLINE seconds at most. None is lost, whatever happens."""
        moved = ReasonGroups()
        stop = asyncio.Event()
        async with self._locks[name]:
            timer = asyncio.get_running_loop().call_later(MOVE_DEADLINE, stop.set)
            dead, source = self._queues.dead_letters(name), self._queues[name]
            try:
                truncated = await move_in_batches(dead, source, selection, Pace(), stop, moved.add)
            finally:
                timer.cancel()
                self._counted.pop(name, None)
        return Redriven(moved.total, finished=not (truncated or stop.is_set()))
