"""Finds what stands still and nudges it: an event that was lost, a lease long over, a job without news.

One daemon at a time does it, under a Postgres advisory lock; every nudge goes through the outbox. It also sweeps the
outbox, expires uploads that never came, has leftovers cleared up, and reads the depths of the queues.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

import structlog

from consumer.maintenance.output_cleanup import OutputCleanup
from consumer.stages.lifecycle import StageLifecycle
from media.asset import Asset, ObjectVersion, Stage, StageState
from media.asset_store.assets import AssetStore
from media.asset_store.stage_maintenance import (
    FIRST_REMINDER,
    MAX_REMINDERS,
    StageMaintenance,
    StalledStage,
    sole_reconciler,
)
from media.aws.s3 import ObjectStorage
from media.aws.sqs import MessageQueues
from media.errors import Dependency, MediaError, UnavailableError
from media.outbox import Outbox
from media.stage_requests import QUEUE_OF, request
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

SWEEP_INTERVAL = 5.0
"""Seconds between two sweeps of the outbox; every daemon sweeps, rows are locked one by one."""

DEPTH_INTERVAL = 120.0
"""Seconds between two looks at how full the queues are."""

Work = Callable[[], Awaitable[None]]
AskJob = Callable[[Asset, str], Awaitable[None]]
"""Asks the transcoder how a job stands and applies the answer, as if its event had come."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """`paused` names the queues that some daemon has paused; `backlog` is how many messages count as a visible one."""

    dsn: str
    upkeep: StageMaintenance
    assets: AssetStore
    storage: ObjectStorage
    outbox: Outbox
    lifecycle: StageLifecycle
    sweeper: OutputCleanup
    queues: MessageQueues
    names: tuple[str, ...]
    paused: Callable[[], Awaitable[set[str]]]
    ask_job: AskJob
    trip: Callable[[Dependency], None]
    metrics: Metrics
    interval: float = 30.0
    expiry: float = 86_400.0
    first_nudge: float = FIRST_REMINDER
    backlog: int = 100

    async def sweep(self) -> None:
        """Sweep the outbox, for ever."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            await self._tolerant("sweep", self._sweep)

    async def gauge(self) -> None:
        """Read the queues' depths, for ever. Seldom: an idle queue may cost four requests a minute, polls included."""
        while True:
            await self._tolerant("depths", self._depths)
            await asyncio.sleep(DEPTH_INTERVAL)

    async def run(self) -> None:
        """Reconcile, for ever, whenever no other daemon does."""
        while True:
            await asyncio.sleep(self.interval)
            await self._tolerant("reconcile", self._round)

    async def _sweep(self) -> None:
        while await self.outbox.sweep():
            pass

    async def _round(self) -> None:
        pending = await self.upkeep.pending()
        self.metrics.outbox.set(pending.outbox)
        self.metrics.oldest.set(pending.oldest)
        async with sole_reconciler(self.dsn) as ours:
            if ours:
                for what, work in self._works():
                    await self._tolerant(what, work)

    def _works(self) -> Iterator[tuple[str, Work]]:
        """What a round consists of; what goes wrong in one part keeps none of the others from its turn."""
        for stage, queue in QUEUE_OF.items():
            yield f"nudge {stage}", partial(self._nudge, stage, queue)
        yield "ask for jobs", partial(self._nudge, Stage.TRANSCODE, "transcode-events", waiting=True)
        yield "expire", self._expire
        yield "clear up", self.sweeper.sweep
        yield "forget", self.sweeper.forget

    async def _depths(self) -> None:
        for name in self.names:
            await self._tolerant(f"depth of {name}", partial(self._depth, name))

    async def _depth(self, name: str) -> None:
        depth, dead = await self.queues[name].depth(), await self.queues.dead_letters(name).depth()
        self.metrics.backlog.labels(name).set(depth.visible)
        self.metrics.dead.labels(name).set(dead.visible)

    async def _nudge(self, stage: Stage, queue: str, *, waiting: bool = False) -> None:
        """Remind whoever stands still, unless its queue is paused, or `queue`, by which its news comes, is full."""
        found = await self.upkeep.find_stalled(stage, waiting=waiting, first=self.first_nudge)
        if not found or {queue, QUEUE_OF[stage]} & await self.paused():
            return
        if (await self.queues[queue].depth()).visible > self.backlog:
            return
        for still in found:
            await self._tolerant("nudge", partial(self._nudge_one, still))

    async def _nudge_one(self, still: StalledStage) -> None:
        asset = still.asset
        if still.nudges >= MAX_REMINDERS:
            log.error("reconciler.stalled", asset_id=str(asset.asset_id), stage=still.stage)
            await self.lifecycle.fail_stalled(still)
            return
        log.warning("reconciler.reminder", asset_id=str(asset.asset_id), stage=still.stage, state=still.state)
        await self.upkeep.record_reminder(asset.asset_id, still.stage, first=self.first_nudge)
        if still.state == StageState.WAITING and still.job_id:
            await self.ask_job(asset, still.job_id)
            return
        effects = [request(still.stage, asset)]
        await self.assets.note(asset.asset_id, "nudged", f"{still.stage} was {still.state}", effects)

    async def _expire(self) -> None:
        """Uploads that never came; if the object is there after all, its event was lost: scan it."""
        for asset in await self.upkeep.overdue(self.expiry):
            await self._tolerant("expire", partial(self._expire_one, asset))

    async def _expire_one(self, asset: Asset) -> None:
        stored = await self.storage.head(ObjectVersion(asset.bucket, asset.key))
        if stored is None:
            await self.upkeep.expire(asset.asset_id)
            return
        effects = [request(Stage.SCAN, asset, version=stored.version)]
        _, rows = await self.assets.bind(asset.asset_id, stored, effects=effects, note="found by the reconciler")
        await self.outbox.dispatch(rows)

    async def _tolerant(self, what: str, work: Work) -> None:
        """What fails is logged; the next asset, or the next round, comes. No asset may end the daemon.

        A dependency found away trips its breaker here too: an idle daemon has nobody else to notice.
        """
        try:
            await work()
        except UnavailableError as error:
            self.trip(error.dependency)
            log.warning("reconciler.failed", what=what, error=str(error))
        except MediaError as error:
            log.warning("reconciler.failed", what=what, error=str(error))
        except Exception:
            log.exception("reconciler.unforeseen", what=what)
