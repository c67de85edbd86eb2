"""The daemon's life: start everything, drain on the first signal, end at once on the second.

SIGTERM → not ready → stop receiving → release what has not started → let finish what runs → release the rest. What is
started is stopped in reverse order. A background task that ends stops the daemon: none dies quietly.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from typing import Any

import structlog

from consumer.queue.worker import QueueWorker
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

RELEASE_RESERVE = 3.0
"""Seconds of the drain timeout that are kept for releasing interrupted messages."""

BackgroundTask = Callable[[], Coroutine[Any, Any, None]]
"""Work that goes on beside the queue workers for as long as the daemon lives."""

type Work = asyncio.Task[Any]
"""The task of a queue worker, or of a background task."""


class Phase(StrEnum):
    """Where the daemon is in its life."""

    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Daemon:
    """Runs queue workers and background tasks until stopped, and ends `drain_timeout` seconds later at the latest."""

    def __init__(
        self,
        workers: Sequence[QueueWorker],
        background_tasks: Sequence[BackgroundTask],
        metrics: Metrics,
        *,
        drain_timeout: float,
    ) -> None:
        self._workers = workers
        self._background_tasks = background_tasks
        self._metrics = metrics
        self._drain_timeout = drain_timeout
        self._stop = asyncio.Event()
        self._abort = asyncio.Event()
        self.phase = Phase.RUNNING

    def stop(self) -> None:
        """Drain; at the second call, end at once."""
        if self._stop.is_set():
            self._abort.set()
        self._stop.set()

    @property
    def aborted(self) -> bool:
        """Whether there was a second call to `stop`."""
        return self._abort.is_set()

    async def run(self) -> bool:
        """Run until stopped and drained. Return False when a task died and the rest was stopped for it."""
        self._metrics.draining.set(0)
        background_tasks = [asyncio.create_task(background_task()) for background_task in self._background_tasks]
        workers = [asyncio.create_task(worker.run()) for worker in self._workers]
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({*background_tasks, *workers, stopped}, return_when=asyncio.FIRST_COMPLETED)
            died: list[Work] = [task for task in (*background_tasks, *workers) if task.done()]
            for dead in died:
                log.error("daemon.part_died", error=repr(None if dead.cancelled() else dead.exception()))
            await self._drain(workers)
        finally:
            for task in (*background_tasks, *workers, stopped):
                task.cancel()
            await asyncio.gather(*background_tasks, *workers, stopped, return_exceptions=True)
            self.phase = Phase.STOPPED
        return not died

    async def _drain(self, workers: Sequence[Work]) -> None:
        self.phase = Phase.DRAINING
        self._metrics.draining.set(1)
        started = time.monotonic()
        log.info("daemon.draining", timeout=self._drain_timeout)
        for worker in self._workers:  # all before the first await: none goes on receiving while another releases
            worker.drain()
        if not await self._ended(workers, self._drain_timeout - RELEASE_RESERVE):
            for worker in self._workers:
                worker.interrupt()
            await self._ended(workers, RELEASE_RESERVE - 0.5)
        left = sum(not task.done() for task in workers)
        log.info("daemon.drained", seconds=round(time.monotonic() - started, 1), unfinished=left)

    async def _ended(self, workers: Sequence[Work], seconds: float) -> bool:
        """Wait for the workers, for `seconds`, or the second signal. Return whether all workers ended."""
        abort = asyncio.create_task(self._abort.wait())
        until = time.monotonic() + max(0.0, seconds)
        try:
            while running := [worker for worker in workers if not worker.done()]:
                left = until - time.monotonic()
                if left <= 0 or abort.done():
                    return False
                await asyncio.wait({*running, abort}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            abort.cancel()
        return True
