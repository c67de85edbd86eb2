"""A round of the reconciler on a real database and queues in memory: what fails or waits hides nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from consumer.maintenance.output_cleanup import OutputCleanup
from consumer.maintenance.reconciler import Reconciler
from consumer.queue.retry import RetryPolicy
from consumer.stages.lifecycle import StageLifecycle
from media.asset import Asset, AssetType, DeliveryClass, ObjectVersion, Stage, upload_key
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.database import Database, connect
from media.asset_store.orphaned_outputs import OrphanedOutputs
from media.asset_store.stage_maintenance import StageMaintenance
from media.asset_store.stages import StageStore
from media.aws.s3 import ObjectStorage
from media.aws.sqs import MessageQueues
from media.errors import Dependency, UnavailableError
from media.outbox import EffectKind, Outbox
from media.settings import QUEUES
from media.stage_endings import EndingRules
from media.telemetry import Metrics
from tests import conftest
from tests.fakes.memory_queue import MemoryQueue, Request

HOUR = 3600.0
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793"


class MemoryQueues(MessageQueues):
    """All queues, in memory."""

    def __init__(self) -> None:
        super().__init__(cast("Any", None), {})
        self.by_name = {name: MemoryQueue(name) for name in QUEUES}
        self._queues = {**self.by_name}
        self._dead = {name: MemoryQueue(f"{name}-dlq") for name in QUEUES}  # type: ignore[misc] # as good as one

    def sent(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.by_name[name].bodies()]


@dataclass
class Storage:
    """An S3 that has what it is told to have, and refuses to remove some of it."""

    objects: Mapping[str, StoredObject] = field(default_factory=dict)
    refuses: str = "nothing"
    removed: list[str] = field(default_factory=list)

    async def head(self, version: ObjectVersion) -> StoredObject | None:
        return self.objects.get(version.key)

    async def delete_prefix(self, rows: Any) -> None:
        for row in rows:
            prefix = row.effect.body["prefix"]
            if self.refuses in prefix:
                raise PermissionError(prefix)
            self.removed.append(prefix)


@dataclass
class Bench:
    """A reconciler, what surrounds it, and the assets that it looks after."""

    database: Database
    assets: AssetStore
    queues: MemoryQueues
    storage: Storage
    metrics: Metrics
    reconciler: Reconciler
    paused: set[str]
    asked: list[str]

    async def asset(self, asset_type: AssetType = AssetType.IMAGE, status: str = "pending") -> Asset:
        asset_id = uuid4()
        key = upload_key(asset_type, "owner", asset_id, "file")
        new = NewAsset(
            asset_id, "owner", asset_type, DeliveryClass.PUBLIC, "image/png", "file", "bucket", key, trace_id=TRACE
        )
        made = await self.assets.create(new)
        assert made
        await self.database.execute(
            "UPDATE assets SET status = $2, version_id = CASE WHEN $2 = 'pending' THEN NULL ELSE 'v' END"
            " WHERE asset_id = $1",
            asset_id,
            status,
        )
        return made

    async def still(self, stage: Stage, age: float, state: str = "queued") -> UUID:
        """An asset that has stood still in this stage for so many seconds."""
        made = await self.asset(status="uploaded" if stage is Stage.SCAN else "processing")
        await self.database.execute(
            "INSERT INTO stages (asset_id, stage, state, job_id, updated_at)"
            " VALUES ($1, $2, $3, CASE WHEN $3 = 'waiting' THEN 'job-' || $1::uuid END,"
            " now() - $4::float8 * interval '1 second')",
            made.asset_id,
            stage,
            state,
            age,
        )
        return made.asset_id

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work()) for work in (self.reconciler.run, self.reconciler.report_depths)]
        try:
            yield
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, condition: Callable[[], bool | Awaitable[bool]]) -> None:
        async with asyncio.timeout(20):
            while True:
                met = condition()
                if met if isinstance(met, bool) else await met:
                    return
                await asyncio.sleep(0.02)

    async def nudged(self, stage: Stage) -> int:
        return int(
            await self.database.fetchval("SELECT count(*) FROM stages WHERE stage = $1 AND nudges > 0", stage) or 0
        )


@pytest.fixture
async def bench(postgres: conftest.Database) -> AsyncIterator[Bench]:
    async with connect(postgres.dsn) as database:
        assets, queues, storage, metrics = AssetStore(database), MemoryQueues(), Storage(), Metrics()
        dispatchers = {EffectKind.SEND: queues.send_rows, EffectKind.DELETE_PREFIX: storage.delete_prefix}
        outbox = Outbox(database, dispatchers)

        paused: set[str] = set()
        asked: list[str] = []

        async def all_paused() -> set[str]:
            return paused

        async def ask_job(_asset: Asset, job_id: str) -> None:
            asked.append(job_id)

        lifecycle = StageLifecycle(
            assets, StageStore(database), outbox, metrics, EndingRules("bucket", 5), RetryPolicy(), lease=60.0
        )
        reconciler = Reconciler(
            dsn=postgres.dsn,
            maintenance=StageMaintenance(database),
            assets=assets,
            storage=cast("ObjectStorage", cast("Any", storage)),
            outbox=outbox,
            lifecycle=lifecycle,
            output_cleanup=OutputCleanup(OrphanedOutputs(database), lifecycle, retention=30 * 86_400),
            queues=queues,
            names=QUEUES,
            paused=all_paused,
            ask_job=ask_job,
            trip=lambda _dependency: None,
            metrics=metrics,
            interval=0.05,
        )
        yield Bench(database, assets, queues, storage, metrics, reconciler, paused, asked)


async def away(_request: Request) -> None:
    raise UnavailableError(Dependency.SQS, "away")


async def test_those_of_a_full_queue_hide_none_of_another(bench: Bench) -> None:
    """More than one round looks at, and older; neither scans nor jobs that run wait for them."""
    for _ in range(110):
        await bench.still(Stage.TRANSCODE, 2 * HOUR)
        await bench.still(Stage.IMAGE, 2 * HOUR)
    scan, job = await bench.still(Stage.SCAN, HOUR), await bench.still(Stage.TRANSCODE, HOUR, "waiting")
    bench.paused.add("images")
    for _ in range(101):
        await bench.queues["transcodes"].send("work")
    async with bench.at_work():
        await bench.until(lambda: bool(bench.asked))
        assert [message["asset_id"] for message in await swept(bench, "uploads")] == [str(scan)]
        assert bench.asked == [f"job-{job}"]
        assert await bench.nudged(Stage.IMAGE) == 0
        assert await bench.nudged(Stage.TRANSCODE) == 1


async def swept(bench: Bench, queue: str) -> list[dict[str, Any]]:
    """What the outbox holds for a queue, sent."""
    await bench.reconciler.outbox.sweep()
    return bench.queues.sent(queue)


async def test_a_queue_that_cannot_be_looked_at_keeps_nothing_from_being_done(bench: Bench) -> None:
    scan = await bench.still(Stage.SCAN, HOUR)
    image = await bench.still(Stage.IMAGE, HOUR)
    never = await bench.asset()
    await bench.database.execute("UPDATE assets SET created_at = now() - interval '2 days' WHERE status = 'pending'")
    bench.queues.by_name["uploads"].network = away
    await bench.queues["recordings"].send("work")
    async with bench.at_work():
        await bench.until(lambda: is_expired(bench, never.asset_id))
        assert [message["asset_id"] for message in await swept(bench, "images")] == [str(image)]
        await bench.until(lambda: gauge(bench, "backlog_messages", "recordings") == 1)
        assert await bench.nudged(Stage.SCAN) == 0, str(scan)


async def is_expired(bench: Bench, asset_id: UUID) -> bool:
    return bool(await bench.database.fetchval("SELECT status = 'expired' FROM assets WHERE asset_id = $1", asset_id))


def gauge(bench: Bench, name: str, queue: str) -> float | None:
    return bench.metrics.registry.get_sample_value(f"media_{name}", {"queue": queue})


async def test_reminders_carry_the_trace_of_their_asset(bench: Bench) -> None:
    await bench.still(Stage.IMAGE, HOUR)
    lost = await bench.asset(AssetType.DOCUMENT)
    await bench.database.execute("UPDATE assets SET created_at = now() - interval '2 days' WHERE status = 'pending'")
    bench.storage.objects = {lost.key: StoredObject(ObjectVersion("bucket", lost.key, "v"), "etag", 1)}
    async with bench.at_work():
        await bench.until(lambda: bool(bench.queues.sent("uploads")))
        [nudge], [found] = await swept(bench, "images"), bench.queues.sent("uploads")
    assert nudge["trace_id"] == found["trace_id"] == TRACE


async def test_what_cannot_be_cleared_up_is_left_to_the_outbox_once_and_holds_up_nothing(bench: Bench) -> None:
    stubborn, other = await bench.still(Stage.IMAGE, HOUR), await bench.still(Stage.IMAGE, HOUR)
    await bench.database.execute(
        "UPDATE stages SET state = 'failed', attempt = 3, updated_at = now() - interval '1 day'"
    )
    bench.storage.refuses = str(stubborn)
    forgotten = await bench.asset(status="expired")
    await bench.database.execute("UPDATE assets SET updated_at = now() - interval '60 days' WHERE status = 'expired'")

    async def done() -> bool:
        gone = await bench.assets.get(forgotten.asset_id) is None
        return gone and not await bench.database.fetchval("SELECT count(*) FROM stages WHERE swept_at IS NULL")

    async with bench.at_work():
        await bench.until(done)
        await bench.until(lambda: len(bench.storage.removed) >= 3)
    assert all(str(other) in prefix for prefix in bench.storage.removed)
    assert await bench.database.fetchval("SELECT count(*) FROM outbox WHERE asset_id = $1", stubborn) == 3
