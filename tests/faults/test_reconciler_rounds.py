"""A round of the reconciler on a real database and queues in memory: no failure or full queue delays the others."""

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
from media.asset_store.housekeeping import Housekeeping, Retention
from media.asset_store.stage_maintenance import OrphanedOutputs, StageMaintenance
from media.asset_store.stages import StageStore
from media.aws.s3 import ObjectStorage
from media.aws.sqs import BatchSender, MessageQueues
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
        self._senders = {name: BatchSender(queue) for name, queue in self.by_name.items()}
        self._dead = {name: MemoryQueue(f"{name}-dlq") for name in QUEUES}  # type: ignore[misc] # as good as one

    def sent(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.by_name[name].bodies()]


@dataclass
class FakeStorage:
    """An S3 with the given objects, which refuses to remove some of them."""

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
class ReconcilerHarness:
    """A reconciler, its collaborators, and the assets that it reconciles."""

    database: Database
    assets: AssetStore
    queues: MemoryQueues
    storage: FakeStorage
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

    async def stalled(self, stage: Stage, age: float, state: str = "queued") -> UUID:
        """Make an asset that has stood still in this stage for so many seconds."""
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
    async def running(self) -> AsyncIterator[None]:
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

    async def reminded(self, stage: Stage) -> int:
        return int(
            await self.database.fetchval("SELECT count(*) FROM stages WHERE stage = $1 AND nudges > 0", stage) or 0
        )


@pytest.fixture
async def harness(postgres: conftest.Database) -> AsyncIterator[ReconcilerHarness]:
    async with connect(postgres.dsn) as database:
        assets, queues, storage, metrics = AssetStore(database), MemoryQueues(), FakeStorage(), Metrics()
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
            holder="tester",
            maintenance=StageMaintenance(database),
            assets=assets,
            storage=cast("ObjectStorage", cast("Any", storage)),
            outbox=outbox,
            lifecycle=lifecycle,
            output_cleanup=OutputCleanup(OrphanedOutputs(database), lifecycle),
            housekeeping=Housekeeping(database, Retention()),
            queues=queues,
            names=QUEUES,
            paused=all_paused,
            ask_job=ask_job,
            trip=lambda _dependency: None,
            metrics=metrics,
            interval=0.05,
        )
        yield ReconcilerHarness(database, assets, queues, storage, metrics, reconciler, paused, asked)


async def away(_request: Request) -> None:
    raise UnavailableError(Dependency.SQS, "away")


async def test_stages_of_a_full_queue_do_not_hide_those_of_another(harness: ReconcilerHarness) -> None:
    """There are more and older ones than one round reads; neither scans nor running jobs wait for them."""
    for _ in range(110):
        await harness.stalled(Stage.TRANSCODE, 2 * HOUR)
        await harness.stalled(Stage.IMAGE, 2 * HOUR)
    scan, job = await harness.stalled(Stage.SCAN, HOUR), await harness.stalled(Stage.TRANSCODE, HOUR, "waiting")
    harness.paused.add("images")
    for _ in range(101):
        await harness.queues["transcodes"].send("work")
    async with harness.running():
        await harness.until(lambda: bool(harness.asked))
        assert [message["asset_id"] for message in await sent_by_outbox(harness, "uploads")] == [str(scan)]
        assert harness.asked == [f"job-{job}"]
        assert await harness.reminded(Stage.IMAGE) == 0
        assert await harness.reminded(Stage.TRANSCODE) == 1


async def sent_by_outbox(harness: ReconcilerHarness, queue: str) -> list[dict[str, Any]]:
    """Send what the outbox holds for a queue; return the messages."""
    await harness.reconciler.outbox.sweep()
    return harness.queues.sent(queue)


async def test_a_queue_whose_depth_cannot_be_read_delays_nothing(harness: ReconcilerHarness) -> None:
    scan = await harness.stalled(Stage.SCAN, HOUR)
    image = await harness.stalled(Stage.IMAGE, HOUR)
    never = await harness.asset()
    await harness.database.execute("UPDATE assets SET created_at = now() - interval '2 days' WHERE status = 'pending'")
    harness.queues.by_name["uploads"].network = away
    await harness.queues["recordings"].send("work")
    async with harness.running():
        await harness.until(lambda: is_expired(harness, never.asset_id))
        assert [message["asset_id"] for message in await sent_by_outbox(harness, "images")] == [str(image)]
        await harness.until(lambda: metric(harness, "backlog_messages", "recordings") == 1)
        assert await harness.reminded(Stage.SCAN) == 0, str(scan)


async def is_expired(harness: ReconcilerHarness, asset_id: UUID) -> bool:
    return bool(await harness.database.fetchval("SELECT status = 'expired' FROM assets WHERE asset_id = $1", asset_id))


def metric(harness: ReconcilerHarness, name: str, queue: str) -> float | None:
    return harness.metrics.registry.get_sample_value(f"media_{name}", {"queue": queue})


async def test_reminders_carry_the_trace_of_their_asset(harness: ReconcilerHarness) -> None:
    await harness.stalled(Stage.IMAGE, HOUR)
    lost = await harness.asset(AssetType.DOCUMENT)
    await harness.database.execute("UPDATE assets SET created_at = now() - interval '2 days' WHERE status = 'pending'")
    harness.storage.objects = {lost.key: StoredObject(ObjectVersion("bucket", lost.key, "v"), "etag", 1)}
    async with harness.running():
        await harness.until(lambda: bool(harness.queues.sent("uploads")))
        [reminder], [found] = await sent_by_outbox(harness, "images"), harness.queues.sent("uploads")
    assert reminder["trace_id"] == found["trace_id"] == TRACE


async def test_outputs_that_cannot_be_removed_are_left_to_the_outbox_once_and_delay_nothing(
    harness: ReconcilerHarness,
) -> None:
    stubborn, other = await harness.stalled(Stage.IMAGE, HOUR), await harness.stalled(Stage.IMAGE, HOUR)
    await harness.database.execute(
        "UPDATE stages SET state = 'failed', attempt = 3, updated_at = now() - interval '1 day'"
    )
    harness.storage.refuses = str(stubborn)
    forgotten = await harness.asset(status="expired")
    await harness.database.execute("UPDATE assets SET updated_at = now() - interval '60 days' WHERE status = 'expired'")

    async def done() -> bool:
        gone = await harness.assets.get(forgotten.asset_id) is None
        return gone and not await harness.database.fetchval("SELECT count(*) FROM stages WHERE swept_at IS NULL")

    async with harness.running():
        await harness.until(done)
        await harness.until(lambda: len(harness.storage.removed) >= 3)
    assert all(str(other) in prefix for prefix in harness.storage.removed)
    assert await harness.database.fetchval("SELECT count(*) FROM outbox WHERE asset_id = $1", stubborn) == 3
