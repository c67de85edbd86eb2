"""Receives messages: one poll loop when idle, more while batches come back full, never more than there is room for.

No error ends a poll loop, and none blocks for longer than a poll takes. The time of each turn is kept, so that a loop
that is stuck can be told from one that waits.
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import structlog

from consumer.queue.buffer import PrefetchBuffer
from consumer.queue.circuit_breaker import Breakers
from consumer.queue.part_health import PartHealth
from media.aws.sqs import BATCH, MessageQueue, Received
from media.errors import Dependency
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

MAX_BACKOFF = 30.0
"""Seconds between two receives while SQS goes on failing, at most."""
SHORT_BACKOFF, QUICK_RETRIES = 6.0, 20
"""Seconds between two receives, at most, for the first errors, and their number.

The end of an outage of up to two minutes is so noticed within seconds.
"""
TURN_INTERVAL = 20.0
"""Seconds after which a loop that waits, for room or for a breaker, turns to show that it lives."""


class Poller:
    """Polls one queue until stopped. `accept` takes each message, whose place is reserved."""

    def __init__(
        self,
        queue: MessageQueue,
        buffer: PrefetchBuffer,
        accept: Callable[[Received], None],
        breakers: Breakers,
        needs: Collection[Dependency],
        metrics: Metrics,
        *,
        wait: int,
        visibility: int,
        most: int,
    ) -> None:
        self._queue = queue
        self._buffer = buffer
        self._accept = accept
        self._breakers = breakers
        self._needs = needs
        self._metrics = metrics
        self._wait = wait
        self._visibility = visibility
        self._most = most
        self._stopping = asyncio.Event()
        self._extra: set[asyncio.Task[None]] = set()
        self.errors = 0
        self.health = PartHealth(f"poller of {queue.name}")
        self.turned = time.monotonic()
        self.ended = False

    @property
    def name(self) -> str:
        return self._queue.name

    @property
    def allowance(self) -> float:
        """Seconds after its last turn within which a poll loop must turn again."""
        return self._wait + 50.0

    def stop(self) -> None:
        """Begin no receive. One under way may end, else SQS would hide the messages that it still returns."""
        self._stopping.set()

    async def run(self) -> None:
        """Poll until stopped and the last receive has returned."""
        try:
            while not self._stopping.is_set():
                self.turned = time.monotonic()
                if not self._buffer.has_room.is_set():
                    await self._unless_stopped(self._buffer.has_room.wait())
                elif self._breakers.open(self._needs):
                    await self._unless_stopped(self._breakers.closed(self._needs))
                elif (
                    await self._poll() == BATCH and self._buffer.has_room.is_set() and len(self._extra) < self._most - 1
                ):
                    task = asyncio.create_task(self._poll_while_full())
                    self._extra.add(task)
                    task.add_done_callback(self._extra.discard)
            if self._extra:
                await asyncio.wait(self._extra)
        finally:
            self.ended = True
            for task in self._extra:
                task.cancel()

    async def _poll_while_full(self) -> None:
        """Poll beside the main loop for as long as batches come back full."""
        while not self._stopping.is_set() and not self._breakers.open(self._needs):
            if not self._buffer.has_room.is_set() or await self._poll() < BATCH:
                return

    async def _poll(self) -> int:
        """Receive once; return the number of messages, or -1 after an error."""
        places = self._buffer.reserve(BATCH)
        received: list[Received] = []
        # After an error the question is whether SQS is back. To wait for messages would delay the answer.
        wait = 0 if 0 < self.errors <= QUICK_RETRIES else self._wait
        try:
            received = await self._queue.receive(limit=places, wait=wait, visibility=self._visibility)
        except asyncio.CancelledError:
            self._buffer.give_up(places)
            raise
        except Exception as error:  # noqa: BLE001 - an unforeseen response must not end the polling either
            self._buffer.give_up(places)
            await self._back_off(error)
            return -1
        self._buffer.give_up(places - len(received))
        self.errors = 0
        self.health.succeeded()
        self._metrics.poll_errors.labels(self._queue.name).set(0)
        self._metrics.last_poll.labels(self._queue.name).set_to_current_time()
        self._metrics.requests.labels(self._queue.name, "receive", "ok").inc()
        for message in received:
            self._accept(message)
        return len(received)

    async def _back_off(self, error: Exception) -> None:
        """Count a receive that failed, and wait before the next one."""
        self.errors += 1
        trace = self.health.failed(error)
        self._metrics.poll_errors.labels(self._queue.name).set(self.errors)
        self._metrics.requests.labels(self._queue.name, "receive", "error").inc()
        longest = SHORT_BACKOFF if self.errors <= QUICK_RETRIES else MAX_BACKOFF
        pause = min(longest, 2.0 ** min(self.errors - 1, 5)) * random.uniform(0.6, 1.0)  # noqa: S311 - jitter
        log.warning(
            "poll.failed",
            queue=self._queue.name,
            error=str(error) or repr(error),
            errors=self.errors,
            pause=round(pause, 1),
            exc_info=trace,
        )
        await self._unless_stopped(asyncio.sleep(pause), longest=pause)

    async def _unless_stopped(self, waiting: Coroutine[Any, Any, object], *, longest: float = TURN_INTERVAL) -> None:
        """Wait for `waiting`, for the stop, or for `longest` seconds, whichever comes first."""
        tasks = {asyncio.ensure_future(waiting), asyncio.ensure_future(self._stopping.wait())}
        try:
            await asyncio.wait(tasks, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
