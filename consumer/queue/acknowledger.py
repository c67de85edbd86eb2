"""Settles messages: deletes and puts back, in batches of ten or after 50 ms, whichever comes first.

Whoever hands a delivery to the settler gives it up; no heartbeat touches it from then on.
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from consumer.queue.in_flight import InFlightMessage
from media.aws.sqs import BATCH, FailedEntry, MessageQueue
from media.errors import UnavailableError
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

LINGER = 0.05
"""Seconds that an incomplete batch waits for company."""
BACKLOG = 200
"""Messages handed in and not settled yet, above which nothing more is received."""
MAX_BATCHES = 8
"""Requests under way at once, per queue and kind."""
RETRY_PAUSE, LONGEST_PAUSE = 1.0, 5.0
"""Seconds before a batch that failed is sent again; grows with each failure. Meanwhile no other batch is sent."""
MAX_DELAY = 43_200
"""Seconds: SQS's longest visibility timeout."""


@dataclass(frozen=True, slots=True)
class _Item:
    message: InFlightMessage
    delay: int
    since: float


class _Batcher:
    """Collects items and sends them ten at a time. `count` is told how many more, or fewer, are not settled yet."""

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
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._expire)

    async def run(self) -> None:
        """Until closed and empty."""
        await self._closing.wait()
        self._flush()
        while self._running:
            await asyncio.wait(self._running)

    def close(self) -> None:
        self._closing.set()

    def _expire(self) -> None:
        self._timer, self._overdue = None, True
        self._flush()

    def _flush(self) -> None:
        """Send full batches, and an incomplete one when its time has come, as far as slots are free."""
        while len(self._running) < MAX_BATCHES and self._is_due():
            batch, self._items = self._items[:BATCH], self._items[BATCH:]
            task = asyncio.create_task(self._send(batch))
            self._running.add(task)
            task.add_done_callback(partial(self._finished, len(batch)))
        if not self._items:
            self._overdue = False
            if self._timer:
                self._timer.cancel()
                self._timer = None

    def _is_due(self) -> bool:
        return len(self._items) >= BATCH or (bool(self._items) and (self._overdue or self._closing.is_set()))

    def _finished(self, items: int, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._count(-items)
        if not task.cancelled() and (error := task.exception()):
            log.error("acknowledger.batch_failed", error=repr(error))
        self._flush()


class Acknowledger:
    """Settles the messages of one queue. `run` ends after `close`, when everything is settled or given up.

    `hold_back` is called with True when `BACKLOG` messages wait to be settled, and with False when fewer do again:
    else receives would run ahead of deletes without bound.
    """

    def __init__(self, queue: MessageQueue, metrics: Metrics, pause: Callable[[bool], None]) -> None:
        self._queue = queue
        self._metrics = metrics
        self._hold_back = pause
        self._pending = 0
        self._failures = 0
        self._alone = asyncio.Lock()
        self._deletes = _Batcher(self._delete, self._count_pending)
        self._returns = _Batcher(self._return, self._count_pending)

    async def delete(self, message: InFlightMessage) -> None:
        """The message did what it asked for."""
        if message.extension:
            await message.quiet()
        self._deletes.put(_Item(message, 0, time.monotonic()))

    async def release(self, message: InFlightMessage, delay: float) -> None:
        """The message becomes visible again in `delay` seconds (rounded up, at most SQS's twelve hours)."""
        if message.extension:
            await message.quiet()
        self._returns.put(_Item(message, min(math.ceil(delay), MAX_DELAY), time.monotonic()))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deletes.run())
            group.create_task(self._returns.run())

    def close(self) -> None:
        """Settle what is there, then end."""
        self._deletes.close()
        self._returns.close()

    def _count_pending(self, change: int) -> None:
        was, self._pending = self._pending, self._pending + change
        if (was >= BACKLOG) != (self._pending >= BACKLOG):
            self._hold_back(self._pending >= BACKLOG)

    async def _delete(self, items: list[_Item]) -> None:
        async def call(left: list[_Item]) -> list[FailedEntry]:
            return await self._queue.delete([item.message.receipt for item in left])

        await self._until_settled("delete", items, call)

    async def _return(self, items: list[_Item]) -> None:
        async def call(left: list[_Item]) -> list[FailedEntry]:
            return await self._queue.change_visibility({item.message.receipt: item.delay for item in left})

        await self._until_settled("release", items, call)

    async def _until_settled(
        self,
        operation: str,
        items: list[_Item],
        call: Callable[[list[_Item]], Coroutine[Any, Any, list[FailedEntry]]],
    ) -> None:
        """Send the batch, then what failed of it, until nothing is left that is still ours."""
        left, tries = items, 0
        while left:
            if self._failures:
                async with self._alone:  # SQS is away: one batch at a time asks whether it is back
                    left = await self._settled(operation, left, call)
                    await asyncio.sleep(min(RETRY_PAUSE * self._failures, LONGEST_PAUSE))
            else:
                left = await self._settled(operation, left, call)
            tries += 1
            left = [item for item in left if item.message.expires > time.monotonic()]
            if left and not self._failures:  # SQS answers, and refuses some
                await asyncio.sleep(min(RETRY_PAUSE * tries, LONGEST_PAUSE))

    async def _settled(
        self, operation: str, items: list[_Item], call: Callable[[list[_Item]], Coroutine[Any, Any, list[FailedEntry]]]
    ) -> list[_Item]:
        """One request; returns what is still to be settled."""
        try:
            failed = {failure.receipt: failure for failure in await call(items)}
        except UnavailableError as error:
            self._failures += 1
            self._count(operation, "error")
            log.warning("acknowledger.unavailable", queue=self._queue.name, operation=operation, error=str(error))
            return items
        self._failures = 0
        self._count(operation, "partial" if failed else "ok")
        return [i for i in items if i.message.receipt in failed and not failed[i.message.receipt].gone]

    def _count(self, operation: str, result: str) -> None:
        self._metrics.requests.labels(self._queue.name, operation, result).inc()
