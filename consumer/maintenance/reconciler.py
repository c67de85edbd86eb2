"""Finds stages that stand still and reminds them: an event was lost, a lease ran out long ago, or a job went silent.

One daemon at a time does it, under a lease in Postgres. Every reminder goes through the outbox. The reconciler
also sweeps the outbox, expires uploads that never came, cleans up outputs, and reads the depths of the queues.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog

from consumer.maintenance.output_cleanup import OutputCleanup
from consumer.queue.part_health import PartHealth
from consumer.stages.lifecycle import StageLifecycle
from media.asset import Asset, ObjectVersion, Stage, StageState
from media.asset_store.assets import AssetStore
from media.asset_store.housekeeping import Housekeeping
from media.asset_store.stage_maintenance import (
    FIRST_REMINDER,
    MAX_REMINDERS,
    StageMaintenance,
    StalledStage,
)
from media.aws.s3 import ObjectStorage
from media.aws.sqs import MessageQueues
from media.errors import Dependency, MediaError, UnavailableError
from media.outbox import Outbox
from media.stage_requests import QUEUE_OF, request
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

SWEEP_INTERVAL = 2.0
"""Seconds between two sweeps of the outbox. Every daemon sweeps; rows are locked one by one.

A deleted file is to be gone from the caches of CloudFront soon: that is told five seconds after, at most.
"""

DEPTH_INTERVAL = 120.0
"""Seconds between two readings of the queues' depths."""

LONGEST_LINE = 86_400.0
"""Seconds for which a stage may wait in line. After them it is reminded once, although its queue was never empty."""

Step = Callable[[], Awaitable[None]]
"""One step of a round."""
AskJob = Callable[[Asset, str], Awaitable[None]]
"""Reads a job from the transcoder and applies its state, as if its event had come."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Reconciles the stages in Postgres with what happens to them.

    `holder` is this daemon's name. `paused` returns the queues that some daemon has paused. A queue with more than
    `backlog` messages gets no reminders, and a stage whose request may still be in its queue gets none either.
    `interval`, `expiry` and `first_reminder` are in seconds.
    """

    holder: str
    maintenance: StageMaintenance
    housekeeping: Housekeeping
    assets: AssetStore
    storage: ObjectStorage
    outbox: Outbox
    lifecycle: StageLifecycle
    output_cleanup: OutputCleanup
    queues: MessageQueues
    names: tuple[str, ...]
    paused: Callable[[], Awaitable[set[str]]]
    ask_job: AskJob
    trip: Callable[[Dependency], None]
    metrics: Metrics
    interval: float = 30.0
    expiry: float = 86_400.0
    first_reminder: float = FIRST_REMINDER
    backlog: int = 100
    health: PartHealth = field(default_factory=lambda: PartHealth("reconciler"))

    async def sweep(self) -> None:
        """Sweep the outbox until canceled."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            with self._log_failure("sweep"):
                while await self.outbox.sweep():
                    pass

    async def report_depths(self) -> None:
        """Read the queues' depths until canceled.

        Rarely: an idle queue may cost four requests a minute, polls included.
        """
        while True:
            for name in self.names:
                with self._log_failure(f"depth of {name}"):
                    depth, dead = await self.queues[name].depth(), await self.queues.dead_letters(name).depth()
                    self.metrics.backlog.labels(name).set(depth.visible)
                    self.metrics.dead.labels(name).set(dead.visible)
            await asyncio.sleep(DEPTH_INTERVAL)

    async def run(self) -> None:
        """Reconcile until canceled, whenever no other daemon does."""
        while True:
            await asyncio.sleep(self.interval)
            with self._log_failure("reconcile"):
                pending = await self.maintenance.pending()
                self.metrics.outbox.set(pending.outbox)
                self.metrics.oldest.set(pending.oldest)
                try:
                    for name, step in self._steps():
                        if not await self.maintenance.lease(self.holder):
                            break
                        with self._log_failure(name):
                            await step()
                finally:
                    await self.maintenance.release(self.holder)

    def _steps(self) -> Iterator[tuple[str, Step]]:
        """List the steps of a round. A failure of one keeps none of the others from its turn."""
        for stage, queue in QUEUE_OF.items():
            yield f"remind {stage}", partial(self._remind, stage, queue)
        yield "ask for jobs", partial(self._remind, Stage.TRANSCODE, "transcode-events", waiting=True)
        yield "expire", self._expire
        yield "clean up", self.output_cleanup.clean_up
        yield from self.housekeeping.steps()

    async def _remind(self, stage: Stage, queue: str, *, waiting: bool = False) -> None:
        """Remind every stalled stage, unless its queue is paused, or `queue`, by which its news comes, is full."""
        find = partial(self.maintenance.find_stalled, stage, waiting=waiting, first=self.first_reminder)
        if not await find() or {queue, QUEUE_OF[stage]} & await self.paused():
            return
        visible = (await self.queues[queue].depth()).visible
        if visible > self.backlog:
            return
        stalled = await find()  # again: the last message of the queue may have been taken meanwhile
        if visible and not waiting:
            # No news is not lost: the request may be one of those messages. With ffmpeg, videos wait in line for a day.
            stalled = [one for one in stalled if one.silent > LONGEST_LINE and not one.nudges]
        for one in stalled:
            with self._log_failure("remind"):
                await self._remind_one(one)

    async def _remind_one(self, stalled: StalledStage) -> None:
        asset = stalled.asset
        if stalled.nudges >= MAX_REMINDERS:
            log.error("reconciler.stalled", asset_id=str(asset.asset_id), stage=stalled.stage)
            await self.lifecycle.fail_stalled(stalled)
            return
        log.warning("reconciler.reminder", asset_id=str(asset.asset_id), stage=stalled.stage, state=stalled.state)
        await self.maintenance.record_reminder(asset.asset_id, stalled.stage, first=self.first_reminder)
        if stalled.state == StageState.WAITING and stalled.job_id:
            await self.ask_job(asset, stalled.job_id)
            return
        effects = [request(stalled.stage, asset)]
        await self.assets.note(asset.asset_id, "nudged", f"{stalled.stage} was {stalled.state}", effects)

    async def _expire(self) -> None:
        """Expire uploads that never came. Where the object is there after all, its event was lost: have it scanned."""
        for asset in await self.maintenance.overdue(self.expiry):
            with self._log_failure("expire"):
                stored = await self.storage.head(ObjectVersion(asset.bucket, asset.key))
                if stored is None:
                    await self.maintenance.expire(asset.asset_id)
                    continue
                scan = [request(Stage.SCAN, asset, version=stored.version)]
                _, rows = await self.assets.bind(asset.asset_id, stored, effects=scan, note="found by the reconciler")
                await self.outbox.dispatch(rows)

    @contextmanager
    def _log_failure(self, what: str) -> Iterator[None]:
        """Log a failure and go on with the next asset or the next round. No asset may end the daemon.

        A dependency found away trips its breaker here too: an idle daemon has no message that would notice.
        """
        try:
            yield
        except UnavailableError as error:
            self.health.failed(error)
            self.trip(error.dependency)
            log.warning("reconciler.failed", what=what, error=str(error))
        except MediaError as error:
            log.warning("reconciler.failed", what=what, error=str(error))
        except Exception as error:
            self.health.failed(error)
            log.exception("reconciler.unforeseen", what=what)
        else:
            self.health.succeeded()
