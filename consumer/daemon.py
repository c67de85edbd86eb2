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

from consumer.queue.worker import Lane
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

LAST_WORDS = 3.0
"""Seconds of the deadline kept for putting back what had to be interrupted."""

Side = Callable[[], Coroutine[Any, Any, None]]
"""Work that goes on beside the lanes for as long as the daemon lives."""


type Work = asyncio.Task[Any]


class Phase(StrEnum):
    """Where the daemon is in its life."""

    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Daemon:
    """Runs lanes and side tasks until told to stop. `patience` is seconds from the signal to the end."""

    def __init__(self, lanes: Sequence[Lane], sides: Sequence[Side], metrics: Metrics, *, patience: float) -> None:
        self._lanes = lanes
        self._sides = sides
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
        sides = [asyncio.create_task(side()) for side in self._sides]
        lanes = [asyncio.create_task(lane.run()) for lane in self._lanes]
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({*sides, *lanes, stopped}, return_when=asyncio.FIRST_COMPLETED)
            died = _dead([*sides, *lanes])
            await self._drain(lanes)
        finally:
            for task in (*sides, *lanes, stopped):
                task.cancel()
            await asyncio.gather(*sides, *lanes, stopped, return_exceptions=True)
            self.phase = Phase.STOPPED
        return not died

    async def _drain(self, lanes: Sequence[Work]) -> None:
        self.phase = Phase.DRAINING
        self._metrics.draining.set(1)
        started = time.monotonic()
        log.info("daemon.draining", patience=self._patience)
        for lane in self._lanes:  # at once: none goes on receiving while another puts back
            lane.drain()
        if not await self._ended(lanes, self._patience - LAST_WORDS):
            for lane in self._lanes:
                lane.interrupt()
            await self._ended(lanes, LAST_WORDS - 0.5)
        left = sum(not task.done() for task in lanes)
        log.info("daemon.drained", seconds=round(time.monotonic() - started, 1), unfinished=left)

    async def _ended(self, lanes: Sequence[Work], patience: float) -> bool:
        """Wait for the lanes, the deadline, or the second signal."""
        abort = asyncio.create_task(self._abort.wait())
        until = time.monotonic() + max(0.0, patience)
        try:
            while running := [lane for lane in lanes if not lane.done()]:
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
