"""Dead letters for the operator's page: counted by reason, shown, sent back and discarded.

Receiving messages to count them hides them from others, so each queue is read by one request at a time and the counts
are cached.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from media.aws.sqs import MessageQueues, QueueDepth
from media.dead_letters.browser import DeadLetterBrowser
from media.dead_letters.dead_letter import DeadLetter, ReasonGroups, Selection
from media.dead_letters.moves import Pace, move_in_batches, purge

READ_LIMIT = 200
"""Messages that are read of one dead-letter queue, at most."""
READ_DEADLINE = 8.0
"""Seconds for reading one queue. The messages read until then are counted."""
MAX_AGE = 15.0
"""Seconds for which counts are cached while the queue's depth stays the same."""
MAX_AGE_CHANGED = 3.0
"""Seconds for which counts are cached once the queue's depth has changed."""
MOVE_DEADLINE = 12.0
"""Seconds for one redrive or discard, below the deadline of a request."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue with its dead letters."""

    name: str
    depth: QueueDepth
    dead: int
    reasons: ReasonGroups


@dataclass(frozen=True, slots=True)
class Moved:
    """The result of a redrive or discard. If it is not `finished`, more messages may match the selection."""

    count: int
    finished: bool


class DeadLetterService:
    """Count, show, redrive and discard dead letters. Every method raises UnavailableError when SQS does not answer."""

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
                reasons = ReasonGroups()
                for dead_letter in await self._read(name, Selection(), READ_LIMIT):
                    reasons.add(dead_letter)
                self._counted[name] = counted = self._clock(), count, reasons
        return QueueState(name, depth, count, counted[2])

    async def read(self, name: str, selection: Selection, limit: int) -> list[DeadLetter]:
        """Return up to `limit` of the selected dead letters, the oldest first. They stay where they are."""
        async with self._locks[name]:
            found = await self._read(name, selection, limit)
        return sorted(found, key=lambda dead_letter: dead_letter.died)

    async def _read(self, name: str, selection: Selection, limit: int) -> list[DeadLetter]:
        found: list[DeadLetter] = []
        async with (
            _stop_after(READ_DEADLINE) as stop,
            DeadLetterBrowser(self._queues.dead_letters(name), stop) as browser,
        ):
            async for dead_letter in browser.dead_letters(selection):
                found.append(dead_letter)
                if len(found) >= limit:
                    stop.set()
        return found

    async def redrive(self, name: str, selection: Selection) -> Moved:
        """Send dead letters back to their queue, for MOVE_DEADLINE seconds at most. None is lost, whatever happens."""
        moved = ReasonGroups()
        dead, source = self._queues.dead_letters(name), self._queues[name]
        async with self._moving(name) as stop:
            truncated = await move_in_batches(dead, source, selection, Pace(), stop, moved.add)
            return Moved(moved.total, finished=not (truncated or stop.is_set()))

    async def discard(self, name: str, selection: Selection) -> Moved:
        """Delete dead letters for good, for MOVE_DEADLINE seconds at most."""
        deleted = ReasonGroups()
        async with self._moving(name) as stop:
            truncated = await purge(self._queues.dead_letters(name), selection, stop, deleted.add)
            return Moved(deleted.total, finished=not (truncated or stop.is_set()))

    @asynccontextmanager
    async def _moving(self, name: str) -> AsyncIterator[asyncio.Event]:
        async with self._locks[name], _stop_after(MOVE_DEADLINE) as stop:
            try:
                yield stop
            finally:
                self._counted.pop(name, None)


@asynccontextmanager
async def _stop_after(seconds: float) -> AsyncIterator[asyncio.Event]:
    """Yield an event that is set after some seconds: what was done until then counts, unlike after a timeout."""
    stop = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(seconds, stop.set)
    try:
        yield stop
    finally:
        timer.cancel()
