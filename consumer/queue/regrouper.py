"""Sends a flood to its queue again in batches, with its owner as the group, so that fair queues serve others first.

SQS's fair queues know a tenant by its MessageGroupId. S3's own notifications carry none, so each of them counts as a
tenant of its own, and a quiet owner's waits behind a loud owner's thousands. To be passed on takes no slot: such a
message must not wait behind those that are worked on.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from consumer.queue.buffer import PrefetchBuffer
from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import Outcome
from media.aws.sqs import BATCH

WINDOW = 30
"""Messages without a tenant that are looked back at. An owner of more than half of them may be flooding the queue."""
MEMORY = 60.0
"""Seconds after which a message is too old to be looked back at."""
BACKLOGGED = 30.0
"""Seconds after the buffer was last full for which the queue counts as backlogged. Without a backlog nobody waits."""
MAX_BATCHES = 8
"""Batches that are passed on at the same time."""

Regroup = Callable[[Sequence[InFlightMessage]], Awaitable[Sequence[Outcome | None]]]
"""Passes messages on; returns the outcome of each, or None for one that must be handled where it is."""


class FloodDetector:
    """Looks at each message that is received."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, str]] = deque(maxlen=WINDOW)
        self._full_at = float("-inf")

    def is_flood(self, message: InFlightMessage, *, full: bool) -> bool:
        """Count a message; return whether its owner floods the queue. `full` says whether the buffer is full."""
        if message.received.group_id or not message.owner or len(message.records) != 1:
            return False
        now = time.monotonic()
        self._full_at = now if full else self._full_at
        self._seen.append((now, message.owner))
        recent = Counter(owner for at, owner in self._seen if now - at <= MEMORY)
        return now - self._full_at <= BACKLOGGED and recent[message.owner] > WINDOW // 2


class Regrouper:
    """Keeps the messages of a flood, in places of the buffer, until they were passed on.

    `run` passes one batch on, settles it, and returns what must be handled here; `start` starts a task for it. `handle`
    is called when such a message waits in the buffer.
    """

    def __init__(
        self,
        buffer: PrefetchBuffer,
        run: Callable[[Sequence[InFlightMessage]], Coroutine[Any, Any, Sequence[InFlightMessage]]],
        start: "Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]",
        handle: Callable[[], None],
    ) -> None:
        self._buffer = buffer
        self._run = run
        self._start = start
        self._handle = handle
        self._detector = FloodDetector()
        self._waiting: deque[InFlightMessage] = deque()
        self._batches = 0
        self._scheduled = False
        self._stopped = False

    def takes(self, message: InFlightMessage) -> bool:
        """Take a message if it is part of a flood."""
        flood = self._detector.is_flood(message, full=not self._buffer.has_room.is_set())
        if self._stopped or not flood:
            return False
        self._buffer.put_aside(message)
        self._waiting.append(message)
        if not self._scheduled:  # after the other messages of the same receive, which fill the batch
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)
        return True

    def stop(self) -> None:
        """Take nothing more, and return to the buffer what is not being passed on yet."""
        self._stopped = True
        while self._waiting:
            self._buffer.readmit(self._waiting.popleft())

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting and self._batches < MAX_BATCHES and not self._stopped:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._batches += 1
            task = self._start(self.pass_on(batch))
            for message in batch:
                message.task = task

    async def pass_on(self, batch: Sequence[InFlightMessage]) -> None:
        """Pass one batch on, and have handled here what cannot be passed on."""
        try:
            for message in await self._run(batch):
                self._buffer.readmit(message)
                message.task = None
                self._handle()
        finally:
            self._batches -= 1
            self._flush()
