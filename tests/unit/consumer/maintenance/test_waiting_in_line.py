"""Reminders for stages that wait in line for hours. In virtual time, on a queue in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast
from unittest import mock
from uuid import UUID

from consumer.maintenance.reconciler import Reconciler
from consumer.queue.in_flight import InFlightMessage
from consumer.queue.worker import WorkerLimits
from media.asset import Stage, StageState
from media.asset_store.stage_maintenance import FIRST_REMINDER, MAX_REMINDERS, PendingWork, StalledStage
from tests.fakes.assets import VIDEO
from tests.fakes.memory_queue import MemoryQueue
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, nothing

HOUR = 3600.0
WORK = 3.5 * HOUR + 7
"""Seconds of work for one video."""


@dataclass(slots=True)
class Line:
    """The transcode stages of a few videos, and what the reconciler does about them."""

    queue: MemoryQueue
    queued: dict[UUID, float] = field(default_factory=dict)
    """When each was requested, until its work begins."""
    nudges: dict[UUID, int] = field(default_factory=dict)
    due: dict[UUID, float] = field(default_factory=dict)
    failed: list[UUID] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    """Stalled stages of each search."""

    async def request(self, number: int) -> None:
        asset_id = UUID(int=number)
        self.queued[asset_id], self.nudges[asset_id] = time.monotonic(), 0
        self.due[asset_id] = time.monotonic() + FIRST_REMINDER
        await self.queue.send(str(number))

    async def lease(self, holder: str) -> bool:
        return not holder

    async def release(self, holder: str) -> None:
        """Nobody else reconciles."""

    async def pending(self) -> PendingWork:
        return PendingWork(0, 0.0)

    async def find_stalled(self, stage: Stage, *, waiting: bool = False, first: float = 0.0) -> list[StalledStage]:
        del first
        if stage is not Stage.TRANSCODE or waiting:
            return []
        now = time.monotonic()
        stalled = [
            StalledStage(
                replace(VIDEO, asset_id=asset_id),
                stage,
                StageState.QUEUED,
                attempt=0,
                job_id=None,
                nudges=self.nudges[asset_id],
                silent=now - since,
            )
            for asset_id, since in self.queued.items()
            if now >= self.due[asset_id] and asset_id not in self.failed
        ]
        self.found.append(len(stalled))
        return stalled

    async def record_reminder(self, asset_id: UUID, stage: Stage, *, first: float) -> None:
        del stage
        self.nudges[asset_id] += 1
        self.due[asset_id] = time.monotonic() + first * 2 ** self.nudges[asset_id]

    async def note(self, asset_id: UUID, code: str, detail: str, effects: Sequence[object]) -> None:
        del code, detail, effects
        await self.queue.send(str(asset_id.int))

    async def fail_stalled(self, stalled: StalledStage) -> bool:
        self.failed.append(stalled.asset.asset_id)
        return True

    async def work(self, text: str, _message: InFlightMessage) -> None:
        if self.queued.pop(UUID(int=int(text)), None) is not None:
            await asyncio.sleep(WORK)


async def _none_paused() -> set[str]:
    return set()


@asynccontextmanager
async def reconciling(line: Line, harness: Harness) -> AsyncIterator[None]:
    """Run the reconciler on this line alone."""
    nothing_else = mock.AsyncMock()
    nothing_else.overdue.return_value = []
    reconciler = Reconciler(
        holder="",
        maintenance=cast("Any", mock.Mock(wraps=line, overdue=mock.AsyncMock(return_value=[]))),
        assets=cast("Any", line),
        storage=cast("Any", nothing_else),
        outbox=cast("Any", nothing_else),
        lifecycle=cast("Any", line),
        output_cleanup=cast("Any", nothing_else),
        housekeeping=cast("Any", mock.Mock(**{"steps.return_value": ()})),
        queues=cast("Any", {"transcodes": line.queue}),
        names=("transcodes",),
        paused=_none_paused,
        ask_job=nothing_else,
        trip=mock.Mock(),
        metrics=harness.metrics,
        interval=180,
    )
    task = asyncio.create_task(reconciler.run())
    try:
        yield
        assert not task.done(), "it reconciles until it is canceled"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual_time
async def test_videos_that_wait_in_line_are_neither_reminded_nor_failed() -> None:
    """One worker, six videos of 3.5 hours each: the last one waits for 17.5 hours, and all are done after 21."""
    harness = Harness(limits=WorkerLimits(concurrency=1, prefetch=0, visibility=60, wait=20))
    line = Line(harness.queue)
    for number in range(6):
        await line.request(number)
    async with harness.running(line.work), reconciling(line, harness):
        await asyncio.sleep(22 * HOUR)
    assert line.queued == {}
    assert max(line.found, default=0) == 5, "all but the first were due for a reminder"
    assert line.failed == []
    assert harness.queue.count("send") == 6, "no message was multiplied"


@virtual_time
async def test_a_request_that_is_lost_is_reminded_of_once_its_queue_is_empty_and_at_last_given_up() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=1, prefetch=0, visibility=60, wait=20))
    line = Line(harness.queue)
    for number in range(2):
        await line.request(number)
    lost = UUID(int=1)
    async with reconciling(line, harness):
        await asyncio.sleep(3 * HOUR)
        assert line.nudges[lost] == 0, "its message may be one of the two"
        async with harness.running(nothing):  # takes the messages and does nothing
            await asyncio.sleep(30 * HOUR)
    assert line.nudges[lost] == MAX_REMINDERS
    assert set(line.failed) == {UUID(int=0), lost}


@virtual_time
async def test_a_request_that_is_lost_in_a_queue_that_is_never_empty_is_sent_again_once() -> None:
    harness = Harness()
    line = Line(harness.queue)
    await line.request(0)
    async with reconciling(line, harness):
        await asyncio.sleep(72 * HOUR)
    assert line.nudges[UUID(int=0)] == 1
    assert line.failed == []
