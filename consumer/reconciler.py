"""Finds what stands still and nudges it: an event that was lost, a lease long over, a job without news.

One daemon at a time does it, under a Postgres advisory lock; every nudge goes through the outbox. It also sweeps the
outbox, expires uploads that never came, and reads the depths of the queues.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from media.asset import Asset, ObjectVersion, Stage, StageState
from media.asset_store.assets import AssetStore
from media.asset_store.upkeep import FIRST_NUDGE, MOST_NUDGES, Still, Upkeep, sole_reconciler
from media.contracts import ImageRequested, ScanRequested, StageRequested, TranscodeRequested
from media.errors import Code, MediaError, UnavailableError
from media.message_queue import Depth, MessageQueues
from media.object_storage import ObjectStorage
from media.outbox import Effect, Outbox
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

SWEEP_INTERVAL = 5.0
"""Seconds between two sweeps of the outbox; every daemon sweeps, rows are locked one by one."""

_REQUESTS: dict[Stage, tuple[str, type[StageRequested]]] = {
    Stage.SCAN: ("uploads", ScanRequested),
    Stage.IMAGE: ("images", ImageRequested),
    Stage.TRANSCODE: ("transcodes", TranscodeRequested),
}

AskJob = Callable[[Asset, str], Awaitable[None]]
"""Asks the transcoder how a job stands and applies the answer, as if its event had come."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """`paused` names the queues whose breakers are open; `backlog` is how many messages count as a visible backlog."""

    dsn: str
    upkeep: Upkeep
    assets: AssetStore
    storage: ObjectStorage
    outbox: Outbox
    queues: MessageQueues
    names: tuple[str, ...]
    paused: Callable[[], set[str]]
    ask_job: AskJob
    metrics: Metrics
    interval: float = 30.0
    expiry: float = 86_400.0
    first_nudge: float = FIRST_NUDGE
    backlog: int = 100

    async def sweep(self) -> None:
        """Sweep the outbox, for ever."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            await _tolerant("sweep", self._sweep)

    async def run(self) -> None:
        """Reconcile, for ever, whenever no other daemon does."""
        while True:
            await asyncio.sleep(self.interval)
            await _tolerant("reconcile", self._round)

    async def _sweep(self) -> None:
        while await self.outbox.sweep():
            pass

    async def _round(self) -> None:
        pending = await self.upkeep.pending()
        self.metrics.outbox.set(pending.outbox)
        self.metrics.oldest.set(pending.oldest)
        depths = {name: await self._depth(name) for name in self.names}
        async with sole_reconciler(self.dsn) as ours:
            if ours:
                await self._nudge(depths)
                await self._expire()

    async def _depth(self, name: str) -> Depth:
        depth = await self.queues[name].depth()
        dead = await self.queues.dead_letters(name).depth()
        self.metrics.backlog.labels(name).set(depth.visible)
        self.metrics.dead.labels(name).set(dead.visible)
        return depth

    async def _nudge(self, depths: dict[str, Depth]) -> None:
        """Remind whoever stands still, unless its queue is paused or has so much to do that waiting is normal."""
        busy = self.paused() | {name for name, depth in depths.items() if depth.visible > self.backlog}
        stages = [stage for stage, (queue, _) in _REQUESTS.items() if queue not in busy]
        for still in await self.upkeep.still(stages=stages, first=self.first_nudge):
            await self._nudge_one(still)

    async def _nudge_one(self, still: Still) -> None:
        asset = still.asset
        if still.nudges >= MOST_NUDGES:
            log.error("reconciler.stalled", asset_id=str(asset.asset_id), stage=still.stage)
            await self.upkeep.stalled(asset.asset_id, still.stage, Code.STALLED)
            return
        log.warning("reconciler.nudge", asset_id=str(asset.asset_id), stage=still.stage, state=still.state)
        await self.upkeep.nudged(asset.asset_id, still.stage, first=self.first_nudge)
        if still.state == StageState.WAITING and still.job_id:
            await self.ask_job(asset, still.job_id)
            return
        queue, request = _REQUESTS[still.stage]
        message = request(
            asset_id=asset.asset_id, bucket=asset.bucket, key=asset.key, version_id=asset.version_id or ""
        )
        effect = Effect.send(queue, message, owner_id=asset.owner_id)
        await self.assets.note(asset.asset_id, "nudged", f"{still.stage} was {still.state}", [effect])

    async def _expire(self) -> None:
        """Uploads that never came; if the object is there after all, its event was lost: scan it."""
        for asset in await self.upkeep.overdue(self.expiry):
            stored = await self.storage.head(ObjectVersion(asset.bucket, asset.key))
            if stored is None:
                await self.upkeep.expire(asset.asset_id)
                continue
            request = ScanRequested(
                asset_id=asset.asset_id, bucket=asset.bucket, key=asset.key, version_id=stored.version.version_id
            )
            effect = Effect.send("uploads", request, owner_id=asset.owner_id)
            _, rows = await self.assets.bind(asset.asset_id, stored, effects=[effect], note="found by the reconciler")
            await self.outbox.carry_out(rows)


async def _tolerant(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """A round that fails is logged; the next one comes."""
    try:
        await work()
    except (UnavailableError, MediaError) as error:
        log.warning("reconciler.failed", what=what, error=str(error))
