"""A request that is handed over is a row of the outbox: it is sent by a sweep unless its work has ended."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from consumer.stages.handover import HandoverQueue
from media.asset import AssetType, DeliveryClass, ObjectVersion, Stage, StageState, Status, upload_key
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.stages import Claim, Commit
from media.aws.sqs import Received
from media.outbox import Outbox, OutboxRow
from media.stage_requests import request
from media.telemetry import Metrics
from tests.faults.fault_proxies import Fault
from tests.faults.stage_harness import StageHarness, message


@dataclass
class Worker:
    """Takes what it is offered while it `has_room`."""

    has_room: bool = True
    taken: list[Received] = field(default_factory=list)

    def offer(self, received: Received) -> bool:
        self.taken += [received] if self.has_room else []
        return self.has_room


@dataclass
class SqsClient:
    """Notes the receipts of each request."""

    requests: list[list[str]] = field(default_factory=list)

    async def delete_message_batch(self, **request: Any) -> dict[str, Any]:
        self.requests.append([entry["ReceiptHandle"] for entry in request["Entries"]])
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]]}

    change_message_visibility_batch = delete_message_batch


@dataclass
class Handover:
    harness: StageHarness
    queue: HandoverQueue
    worker: Worker
    sqs: SqsClient

    async def scanned(self) -> UUID:
        """Scan a new picture, and commit it as the consumer does."""
        asset_id, store = uuid4(), AssetStore(self.harness.database)
        key = upload_key(AssetType.IMAGE, "owner", asset_id, "p.png")
        await store.create(
            NewAsset(asset_id, "owner", AssetType.IMAGE, DeliveryClass.PUBLIC, "image/png", "p.png", "bucket", key)
        )
        await store.bind(asset_id, StoredObject(ObjectVersion("bucket", key, "v"), etag="e", size=1))

        async def scan(claim: Claim) -> Commit:
            effects = [request(Stage.IMAGE, claim.asset)]
            return Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.IMAGE, effects=effects)

        runner = self.harness.runner(scan, stage=Stage.SCAN, hand_over=self.queue.offer)
        await runner.run(asset_id, "v", message())
        return asset_id

    async def due_in(self, asset_id: UUID) -> float | None:
        """Return in how many seconds the request is sent; None when it is not there."""
        statement = "SELECT extract(epoch FROM due_at - now())::float8 FROM outbox WHERE asset_id = $1"
        return cast("float | None", await self.harness.db.fetchval(statement, asset_id))

    async def sweep(self) -> list[OutboxRow]:
        """Sweep what is due after a while; return what was sent."""
        await self.harness.db.execute("UPDATE outbox SET due_at = now() - interval '1 second'")
        await self.harness.runner(_unused).lifecycle.outbox.sweep()
        return self.harness.dispatched


async def _unused(_claim: Claim) -> Commit:
    raise AssertionError


@pytest.fixture
def handover(stage_harness: StageHarness) -> Handover:
    sqs, worker = SqsClient(), Worker()
    outbox = Outbox(stage_harness.database, {})
    queue = HandoverQueue(cast("Any", sqs), "images", "http://queue", Metrics(CollectorRegistry()), outbox)
    queue.worker = cast("Any", worker)
    return Handover(stage_harness, queue, worker, sqs)


async def test_a_request_is_handed_over_and_not_sent(handover: Handover) -> None:
    asset_id = await handover.scanned()
    [taken] = handover.worker.taken
    assert str(asset_id) in taken.body
    assert taken.group_id == "owner"
    assert not handover.harness.dispatched
    assert await handover.due_in(asset_id) is not None, "the row is there for whoever must take over"
    await handover.queue.delete([taken.receipt, "of SQS"])
    assert await handover.due_in(asset_id) is None
    assert handover.sqs.requests == [["of SQS"]]


async def test_a_request_is_sent_when_the_worker_has_no_room(handover: Handover) -> None:
    handover.worker.has_room = False
    asset_id = await handover.scanned()
    assert [row.asset_id for row in handover.harness.dispatched] == [asset_id]
    assert await handover.due_in(asset_id) is None


async def test_what_a_killed_worker_held_is_sent_by_the_sweep(handover: Handover) -> None:
    asset_id = await handover.scanned()
    assert [row.asset_id for row in await handover.sweep()] == [asset_id]
    assert await handover.due_in(asset_id) is None
    [taken] = handover.worker.taken  # it was slow, not dead: what it settles now is not there any more
    assert await handover.queue.change_visibility({taken.receipt: 60}) == []
    assert await handover.queue.delete([taken.receipt]) == []


async def test_a_request_is_postponed_with_its_message_and_sent_when_given_back(handover: Handover) -> None:
    asset_id = await handover.scanned()
    [taken] = handover.worker.taken
    await handover.queue.change_visibility({taken.receipt: 600, "of SQS": 600})
    due = await handover.due_in(asset_id)
    assert due is not None
    assert due > 500
    assert handover.sqs.requests == [["of SQS"]]
    await handover.queue.change_visibility({taken.receipt: 0})
    due = await handover.due_in(asset_id)
    assert due is not None
    assert due <= 0


async def test_messages_of_sqs_are_settled_while_postgres_is_away(handover: Handover) -> None:
    await handover.scanned()
    [taken] = handover.worker.taken
    handover.harness.proxy.fault = Fault.CUT
    async with asyncio.timeout(60):
        assert await handover.queue.change_visibility({taken.receipt: 60, "extended": 60}) == []
        [failure] = await handover.queue.delete([taken.receipt, "deleted"])
    assert (failure.receipt, failure.gone) == (taken.receipt, False)
    assert handover.sqs.requests == [["extended"], ["deleted"]]
