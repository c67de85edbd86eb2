"""The daemon's life: start everything, drain on the first signal, end at once on the second.

SIGTERM → not ready → stop receiving → put back what has not started → let finish what runs → put back the rest. What
is started is stopped in reverse order, and a side task that dies stops the daemon: nothing dies quietly.
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
"""Seconds of the deadline kept for putting back what had to be interrupted."""

BackgroundTask = Callable[[], Coroutine[Any, Any, None]]
"""Work that goes on beside the lanes for as long as the daemon lives."""


type Work = asyncio.Task[Any]


class Phase(StrEnum):
    """Where the daemon is in its life."""

    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Daemon:
    """Runs lanes and side tasks until told to stop. `patience` is seconds from the signal to the end."""

    def __init__(
        self,
        workers: Sequence[QueueWorker],
        background_tasks: Sequence[BackgroundTask],
        metrics: Metrics,
        *,
        patience: float,
    ) -> None:
        self._workers = workers
        self._background_tasks = background_tasks
        self._metrics = metrics
        self._patience = patience
        self._stop = asyncio.Event()
        self._abort = asyncio.Event()
        self.phase = Phase.RUNNING

    def stop(self) -> None:
        """The first call drains, the second one ends at once."""
        if self._stop.is_set():
            self._abort.set()
        self._stop.set()

    @property
    def aborted(self) -> bool:
        """Whether there was a second call to `stop`."""
        return self._abort.is_set()

    async def run(self) -> bool:
        """Until stopped and drained. False when a part of it died and the rest was stopped for it."""
        self._metrics.draining.set(0)
        background_tasks = [asyncio.create_task(background_task()) for background_task in self._background_tasks]
        workers = [asyncio.create_task(worker.run()) for worker in self._workers]
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({*background_tasks, *workers, stopped}, return_when=asyncio.FIRST_COMPLETED)
            died = _dead([*background_tasks, *workers])
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
        log.info("daemon.draining", patience=self._patience)
        for worker in self._workers:  # at once: none goes on receiving while another puts back
            worker.drain()
        if not await self._ended(workers, self._patience - RELEASE_RESERVE):
            for worker in self._workers:
                worker.interrupt()
            await self._ended(workers, RELEASE_RESERVE - 0.5)
        left = sum(not task.done() for task in workers)
        log.info("daemon.drained", seconds=round(time.monotonic() - started, 1), unfinished=left)

    async def _ended(self, workers: Sequence[Work], patience: float) -> bool:
        """Wait for the lanes, the deadline, or the second signal."""
        abort = asyncio.create_task(self._abort.wait())
        until = time.monotonic() + max(0.0, patience)
        try:
            while running := [worker for worker in workers if not worker.done()]:
                left = until - time.monotonic()
                if left <= 0 or abort.done():
                    return False
                await asyncio.wait({*running, abort}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            abort.cancel()
        return True


def _dead(tasks: Sequence[Work]) -> bool:
    """Whether one of the tasks ended that never should have; says why."""
    ended = [task for task in tasks if task.done()]
    for task in ended:
        error = None if task.cancelled() else task.exception()
        log.error("daemon.part_died", error=repr(error))
    return bool(ended)
