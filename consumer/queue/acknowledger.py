"""Acknowledges messages: deletes or releases them, in batches of ten or after 50 ms, whichever comes first.

The caller gives up a message that it hands over; no heartbeat extends it from then on.
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

import structlog

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.part_health import PartHealth
from media.aws.sqs import BATCH, PROMPT, FailedEntry, MessageQueue
from media.aws.sqs_errors import sqs_calls
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

LINGER = 0.05
"""Seconds that an incomplete batch waits for more messages."""
BACKLOG = 200
"""Messages handed over and not acknowledged yet, from which on nothing more is received."""
MAX_BATCHES = 8
"""Concurrent requests, for each queue and operation."""
RETRY_PAUSE, LONGEST_PAUSE = 1.0, 5.0
"""Seconds before a failed batch is sent again, growing with each failure. Meanwhile no other batch is sent."""
MAX_DELAY = 43_200
"""Seconds: SQS's longest visibility timeout."""


class _Item(NamedTuple):
    message: InFlightMessage
    delay: int = 0


type _Call = Callable[[list[_Item]], Coroutine[Any, Any, list[FailedEntry]]]
"""Sends one request for a batch; returns the entries that failed."""


class _Batcher:
    """Collects items and sends them ten at a time. `count` receives each change in the number of unsettled items."""

    def __init__(self, send: Callable[[list[_Item]], Coroutine[Any, Any, None]], count: Callable[[int], None]) -> None:
        self._send = send
        self._count = count
        self._items: list[_Item] = []
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._overdue = False
        self._closing = asyncio.Event()

    def put(self, item: _Item) -> None:
        self._count(1)
        self._items.append(item)
        if len(self._items) >= BATCH or self._closing.is_set():
            self._flush()
        elif not self._timer:
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._send_overdue)

    async def run(self) -> None:
        """Send batches until closed and empty."""
        await self._closing.wait()
        self._flush()
        while self._running:
            await asyncio.wait(self._running)

    def close(self) -> None:
        self._closing.set()

    def _send_overdue(self) -> None:
        self._timer, self._overdue = None, True
        self._flush()

    def _flush(self) -> None:
        """Send full batches, and an incomplete one that is overdue, as far as slots are free."""
        while self._items and len(self._running) < MAX_BATCHES:
            if len(self._items) < BATCH and not self._overdue and not self._closing.is_set():
                return  # the timer runs
            batch, self._items = self._items[:BATCH], self._items[BATCH:]
            task = asyncio.create_task(self._send(batch))
            self._running.add(task)
            task.add_done_callback(partial(self._finished, len(batch)))
        if not self._items:
            self._overdue = False
            if self._timer:
                self._timer.cancel()
                self._timer = None

    def _finished(self, items: int, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._count(-items)
        if not task.cancelled() and (error := task.exception()):
            log.error("acknowledger.batch_failed", error=repr(error))
        self._flush()


class Acknowledger:
    """Deletes and releases the messages of one queue. `run` ends after `close`, when all are settled or have expired.

    `pause` is called with True when `BACKLOG` messages wait to be settled, and with False when fewer do again. Else
    receives would run ahead of deletes without bound.
    """

    def __init__(self, queue: MessageQueue, metrics: Metrics, pause: Callable[[bool], None]) -> None:
        async def delete(items: list[_Item]) -> list[FailedEntry]:
            return await queue.delete([item.message.receipt for item in items])

        async def release(items: list[_Item]) -> list[FailedEntry]:
            return await queue.change_visibility({item.message.receipt: item.delay for item in items})

        self._queue = queue
        self._metrics = metrics
        self._pause = pause
        self._pending = 0
        self._failures = 0
        self.health = PartHealth(f"acknowledger of {queue.name}")
        self._probing = asyncio.Lock()
        self._deletes = _Batcher(partial(self._send_until_settled, "delete", delete), self._count_pending)
        self._releases = _Batcher(partial(self._send_until_settled, "release", release), self._count_pending)

    @property
    def is_failing(self) -> bool:
        """Whether messages wait to be settled, and requests for it fail one after the other."""
        return self._pending > 0 and self._failures > 1

    async def delete(self, message: InFlightMessage) -> None:
        """Delete a message whose work is done."""
        if message.extension:
            await message.quiet()
        self._deletes.put(_Item(message))

    async def release(self, message: InFlightMessage, delay: float) -> None:
        """Make a message visible again in `delay` seconds, rounded up, at most SQS's twelve hours."""
        if message.extension:
            await message.quiet()
        self._releases.put(_Item(message, min(math.ceil(delay), MAX_DELAY)))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deletes.run())
            group.create_task(self._releases.run())

    def close(self) -> None:
        """Let `run` end once everything handed over is settled."""
        self._deletes.close()
        self._releases.close()

    def _count_pending(self, change: int) -> None:
        was, self._pending = self._pending, self._pending + change
        if (was >= BACKLOG) != (self._pending >= BACKLOG):
            self._pause(self._pending >= BACKLOG)

    async def _send_until_settled(self, operation: str, call: _Call, items: list[_Item]) -> None:
        """Send a batch, then its failed entries, until all are settled or have expired."""
        left, tries = items, 0
        while left:
            if self._failures:
                async with self._probing:  # SQS is away: one batch at a time asks whether it is back
                    left = await self._send(operation, call, left)
                    await asyncio.sleep(min(RETRY_PAUSE * self._failures, LONGEST_PAUSE))
            else:
                left = await self._send(operation, call, left)
            tries += 1
            left = [item for item in left if item.message.expires > time.monotonic()]
            if left and not self._failures:  # SQS answers, and refuses some
                await asyncio.sleep(min(RETRY_PAUSE * tries, LONGEST_PAUSE))

    async def _send(self, operation: str, call: _Call, items: list[_Item]) -> list[_Item]:
        """Send one request; return the items that are still to be settled."""
        try:
            # After a failure the question is whether SQS is back. A black hole would delay the answer.
            with sqs_calls():
                async with asyncio.timeout(PROMPT if self._failures else None):
                    failed = {failure.receipt: failure for failure in await call(items)}
        except Exception as error:
            trace = self.health.failed(error)
            self._failures += 1
            self._count(operation, "error")
            names = {"queue": self._queue.name, "operation": operation}
            log.warning("acknowledger.unavailable", **names, error=str(error) or repr(error), exc_info=trace)
            return items
        self._failures = 0
        self.health.succeeded()
        self._count(operation, "partial" if failed else "ok")
        return [i for i in items if i.message.receipt in failed and not failed[i.message.receipt].gone]

    def _count(self, operation: str, result: str) -> None:
        self._metrics.requests.labels(self._queue.name, operation, result).inc()
