"""Dead letters for the operator's page: counted by reason, and sent back. Looking holds letters back from others,
so one look at a time, and its answer is good for a while.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from media.dead_letters.browser import Browser
from media.dead_letters.letters import DeadLetter, Group, Selection
from media.dead_letters.moves import Pace, move_one_by_one
from media.message_queue import Depth, MessageQueues

LOOKED_AT = 200
"""Letters of one queue looked at, at most."""
LOOK_DEADLINE = 8.0
"""Seconds for one look; what was seen until then counts."""
FRESH = 15.0
"""Seconds that an answer is good for."""
FRESH_THOUGH_OTHER = 3.0
"""Seconds that it is good for when the queue's count has changed since."""
MOVE_DEADLINE = 12.0
"""Seconds that one redrive goes on for; below the deadline of a request."""


@dataclass(slots=True)
class Pile:
    """Letters that died of the same; `example` is the one that died first, `newest` when the last one did."""

    example: DeadLetter
    count: int = 0
    newest: float = 0.0

    def add(self, letter: DeadLetter) -> None:
        self.count += 1
        self.newest = max(self.newest, letter.died)
        if letter.died < self.example.died:
            self.example = letter


@dataclass(slots=True)
class Reasons:
    """What letters died of; `looked_at` is how many were seen."""

    piles: dict[Group, Pile] = field(default_factory=dict)
    looked_at: int = 0

    def add(self, letter: DeadLetter) -> None:
        self.piles.setdefault(letter.group, Pile(letter)).add(letter)
        self.looked_at += 1

    def most_first(self) -> list[tuple[Group, Pile]]:
        return sorted(self.piles.items(), key=lambda item: -item[1].count)


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue with its dead letters."""

    name: str
    depth: Depth
    dead: int
    reasons: Reasons


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of a redrive. One that is not `finished` was cut short: more may be there that is meant."""

    moved: int
    finished: bool


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
        return QueueState(name, depth, count, await self._reasons(name, count) if count else Reasons())

    async def _reasons(self, name: str, count: int) -> Reasons:
        async with self._locks[name]:
            found = self._seen.get(name)
            lasts = FRESH if found and found[1] == count else FRESH_THOUGH_OTHER
            if found is None or self._clock() - found[0] > lasts:
                found = self._clock(), count, await self._look(name)
                self._seen[name] = found
        return found[2]

    async def _look(self, name: str) -> Reasons:
        reasons = Reasons()
        stop = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(LOOK_DEADLINE, stop.set)
        try:
            async with Browser(self._queues.dead_letters(name), stop) as browser:
                async for letter in browser.letters(Selection()):
                    reasons.add(letter)
                    if reasons.looked_at >= LOOKED_AT:
                        stop.set()
        finally:
            timer.cancel()
        return reasons

    async def redrive(self, name: str, selection: Selection) -> Redriven:
        """Send letters back to their queue for MOVE_DEADLINE seconds at most; none is lost, whatever happens."""
        moved: list[DeadLetter] = []
        stop = asyncio.Event()
        async with self._locks[name]:
            timer = asyncio.get_running_loop().call_later(MOVE_DEADLINE, stop.set)
            dead, source = self._queues.dead_letters(name), self._queues[name]
            try:
                truncated = await move_one_by_one(dead, source, selection, Pace(), stop, moved.append)
            finally:
                timer.cancel()
                self._seen.pop(name, None)
        return Redriven(len(moved), finished=not (truncated or stop.is_set()))
