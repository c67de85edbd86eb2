"""A stage runner on a real database behind a fault proxy, for the tests of claims and commits."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
from prometheus_client import CollectorRegistry

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.retry import RetryPolicy
from consumer.stages.lifecycle import StageLifecycle
from consumer.stages.runner import StageRunner
from media.asset import (
    AssetType,
    DeliveryClass,
    ObjectVersion,
    Rendition,
    Stage,
    StageState,
    Status,
    output_prefix,
    upload_key,
)
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.database import Database, connect
from media.asset_store.stages import Claim, Commit, StageStore
from media.aws.sqs import Received
from media.errors import Code, RetryableError
from media.outbox import EffectKind, Outbox, OutboxRow
from media.stage_endings import EndingRules
from media.telemetry import Metrics
from tests.faults.fault_proxies import TcpProxy, tcp_proxy

LEASE = 10.0
Handler = Callable[[Claim], Awaitable[Commit]]


@dataclass(slots=True)
class StageHarness:
    """Stage runners on a database behind a proxy, whose effects are only recorded, in `dispatched`."""

    database: Database
    proxy: TcpProxy
    dispatched: list[OutboxRow]
    db: "asyncpg.Connection[asyncpg.Record]"

    def runner(
        self,
        handler: Handler,
        *,
        attempts: int = 3,
        stage: Stage = Stage.IMAGE,
        hand_over: Callable[[OutboxRow], bool] = lambda _row: False,
    ) -> StageRunner:
        async def dispatch(rows: Sequence[OutboxRow]) -> None:
            self.dispatched.extend(rows)

        outbox = Outbox(self.database, dict.fromkeys(EffectKind, dispatch))
        retry = RetryPolicy(base=0.1, cap=1, attempts=attempts)
        stores = AssetStore(self.database), StageStore(self.database)
        metrics = Metrics(CollectorRegistry())
        rules = EndingRules("bucket", max_attempts=attempts)
        return StageRunner(stage, handler, StageLifecycle(*stores, outbox, metrics, rules, retry, LEASE, hand_over))

    async def asset(self) -> UUID:
        """Make an image whose scan is done."""
        asset_id, store, stages = uuid4(), AssetStore(self.database), StageStore(self.database)
        key = upload_key(AssetType.IMAGE, "owner", asset_id, "p.png")
        await store.create(
            NewAsset(asset_id, "owner", AssetType.IMAGE, DeliveryClass.PUBLIC, "image/png", "p.png", "bucket", key)
        )
        await store.bind(asset_id, StoredObject(ObjectVersion("bucket", key, "v"), etag="e", size=1))
        claim = await stages.claim(asset_id, Stage.SCAN, version_id="v", lease=LEASE)
        assert isinstance(claim, Claim)
        await stages.commit(claim.fence, Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.IMAGE))
        return asset_id

    async def stage(self, asset_id: UUID) -> asyncpg.Record:
        row = await self.db.fetchrow("SELECT * FROM stages WHERE asset_id = $1 AND stage = 'image'", asset_id)
        assert row
        return row

    async def removed_attempts(self, asset_id: UUID) -> list[str]:
        """Return the attempts whose outputs are removed."""
        left = await self.db.fetch("SELECT body->>'prefix' AS p FROM outbox WHERE asset_id = $1", asset_id)
        prefixes = [row["p"] for row in left] + [row.effect.body.get("prefix") for row in self.dispatched]
        return sorted(str(prefix).rstrip("/").rsplit("/", 1)[-1] for prefix in prefixes if prefix)


@asynccontextmanager
async def stage_harness(dsn: str) -> AsyncIterator[StageHarness]:
    parts = urlsplit(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        async with (
            tcp_proxy(lambda: asyncio.open_connection(parts.hostname, parts.port)) as (proxy, port),
            connect(dsn.replace(f":{parts.port}/", f":{port}/")) as database,
        ):
            yield StageHarness(database, proxy, [], connection)
    finally:
        await connection.close()


def message(message_id: str = "m", *, sent: float | None = None, receives: int = 1) -> InFlightMessage:
    now = time.monotonic()
    received = Received(message_id, f"r-{message_id}", "{}", receive_count=receives, sent=sent or time.time())
    return InFlightMessage(received, "images", [], "owner", "trace", taken=now, expires=now + LEASE)


async def render(claim: Claim) -> Commit:
    key = f"{output_prefix(claim.asset, claim.stage, claim.attempt)}w150.webp"
    return Commit(StageState.DONE, Status.READY, renditions=[Rendition("w150", key, "image/webp", 1)])


async def fail_with_storage_error(_claim: Claim) -> Commit:
    raise RetryableError(Code.STORAGE_ERROR, "no luck")
