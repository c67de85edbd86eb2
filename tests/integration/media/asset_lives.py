"""Assets that pass through their statuses by the store's own methods, and a bus that is told."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from consumer.maintenance.event_sender import EventSender
from consumer.queue.circuit_breaker import Breakers
from media.asset import AssetNote, AssetType, DeliveryClass, ObjectVersion, Rendition, Stage, StageState, Status
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.database import Database
from media.asset_store.stages import Claim, Commit, Facts, Note, StageStore
from media.errors import Code, Dependency
from media.events.event_outbox import EventOutbox
from media.events.eventbridge import EventBus
from media.telemetry import Metrics
from tests.fakes.eventbridge import BUS, FakeEventBridge

SCHEMA_URL = "https://media.example/schema"


class AssetLives:
    """Pictures of one owner."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.assets, self.stages = AssetStore(database), StageStore(database)

    async def create(self, asset_id: UUID | None = None, **more: Any) -> UUID:
        asset_id = asset_id or uuid4()
        key = f"uploads/image/doctor/{asset_id}/x.jpg"
        kind = AssetType.IMAGE
        await self.assets.create(
            NewAsset(asset_id, "doctor", kind, DeliveryClass.PUBLIC, "image/jpeg", "x.jpg", "b", key, **more)
        )
        return asset_id

    async def upload(self, asset_id: UUID) -> None:
        version = ObjectVersion("b", f"uploads/image/doctor/{asset_id}/x.jpg", "v1")
        await self.assets.bind(asset_id, StoredObject(version, etag="e", size=1))

    async def claim(self, asset_id: UUID, stage: Stage) -> Claim:
        claim = await self.stages.claim(asset_id, stage, version_id="v1", lease=60)
        assert isinstance(claim, Claim)
        return claim

    async def scan(self, asset_id: UUID) -> Claim:
        """Scan it, and return the claim on its next stage."""
        scan = await self.claim(asset_id, Stage.SCAN)
        await self.stages.commit(scan.fence, Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.IMAGE))
        return await self.claim(asset_id, Stage.IMAGE)

    async def render(self, claim: Claim, notes: Sequence[AssetNote] = ()) -> None:
        key = f"public/image/doctor/{claim.asset.asset_id}/image-{claim.attempt}/w150.webp"
        ready = Commit(
            StageState.DONE,
            Status.READY,
            facts=Facts(width=640, height=480, notes=notes),
            renditions=[Rendition("w150", key, "image/webp", 9, 150, 112)],
            notes=[Note("ready")],
        )
        await self.stages.commit(claim.fence, ready)

    async def fail(self, claim: Claim) -> None:
        failed = Commit(StageState.FAILED, Status.FAILED, code=Code.STORAGE_ERROR, detail="S3 was away")
        await self.stages.commit(claim.fence, failed)

    async def ready(self, **more: Any) -> UUID:
        """Take one from its creation to ready: three events."""
        asset_id = await self.create(**more)
        await self.upload(asset_id)
        await self.render(await self.scan(asset_id))
        return asset_id

    async def waiting(self) -> list[tuple[str, int, str | None]]:
        """Return kind, sequence and previous status of the events that are not sent, oldest first."""
        found = await self.database.fetch("SELECT * FROM event_outbox ORDER BY created_at")
        return [(row["kind"], row["sequence"], row["previous_status"]) for row in found]


@dataclass
class SendingDaemon:
    """What one daemon has for its events."""

    outbox: EventOutbox
    sender: EventSender
    breakers: Breakers
    metrics: Metrics

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"media_{name}", labels) or 0.0


@asynccontextmanager
async def event_bus(url: str, name: str = BUS) -> AsyncIterator[EventBus]:
    """Open a bus at an endpoint."""
    session = get_session()
    session.set_credentials("test", "test")
    config = AioConfig(retries={"total_max_attempts": 1})
    async with session.create_client("events", endpoint_url=url, region_name="eu-central-1", config=config) as client:
        yield EventBus(client, name)


@asynccontextmanager
async def sending(database: Database, fake: FakeEventBridge) -> AsyncIterator[SendingDaemon]:
    """Send the events of a database while the block runs."""
    async with event_bus(fake.url) as bus:
        metrics, outbox = Metrics(), EventOutbox(database)
        probes = {Dependency.EVENTBRIDGE: bus.check, Dependency.POSTGRES: database.probe}
        breakers = Breakers(probes, metrics)
        sender = EventSender(outbox, bus, breakers, metrics, SCHEMA_URL)
        tasks = [asyncio.create_task(sender.run()), asyncio.create_task(breakers.run())]
        try:
            yield SendingDaemon(outbox, sender, breakers, metrics)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
