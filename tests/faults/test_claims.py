"""Claims and commits on a real database: who may work on a stage, what counts, and what is swept."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import OutcomeKind
from consumer.queue.retry import RetryPolicy
from consumer.stages.lifecycle import StageLifecycle
from consumer.stages.runner import StageRunner
from media.asset import AssetType, ObjectVersion, Rendition, Stage, StageState, Status, output_prefix, upload_key
from media.asset import DeliveryClass as Audience
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.database import Database, connect
from media.asset_store.stages import Claim, Commit, StageStore
from media.aws.sqs import Received
from media.errors import Code, Dependency, RetryableError, UnavailableError
from media.outbox import EffectKind, Outbox, OutboxRow
from media.stage_endings import EndingRules
from media.telemetry import Metrics
from tests import conftest
from tests.faults.wires import Fault, Wire, wire_to

LEASE = 10.0
Handler = Callable[[Claim], Awaitable[Commit]]


@dataclass(slots=True)
class Bench:
    """The claims' machinery on a database behind a wire, with carriers that only write down what they carry."""

    database: Database
    wire: Wire
    carried: list[OutboxRow]
    db: "asyncpg.Connection[asyncpg.Record]"

    def runner(self, handler: Handler, *, attempts: int = 3, stage: Stage = Stage.IMAGE) -> StageRunner:
        async def carry(rows: Sequence[OutboxRow]) -> None:
            self.carried.extend(rows)

        outbox = Outbox(self.database, dict.fromkeys(EffectKind, carry))
        retry = RetryPolicy(base=0.1, cap=1, attempts=attempts)
        stores = AssetStore(self.database), StageStore(self.database)
        metrics = Metrics(CollectorRegistry())
        rules = EndingRules("bucket", max_attempts=attempts)
        return StageRunner(stage, handler, StageLifecycle(*stores, outbox, metrics, rules, retry, LEASE))

    async def asset(self) -> UUID:
        """An image whose scan is done."""
        asset_id, store, stages = uuid4(), AssetStore(self.database), StageStore(self.database)
        key = upload_key(AssetType.IMAGE, "owner", asset_id, "p.png")
        await store.create(
            NewAsset(asset_id, "owner", AssetType.IMAGE, Audience.PUBLIC, "image/png", "p.png", "bucket", key)
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

    async def swept(self, asset_id: UUID) -> list[str]:
        """The attempts whose prefixes go."""
        left = await self.db.fetch("SELECT body->>'prefix' AS p FROM outbox WHERE asset_id = $1", asset_id)
        prefixes = [row["p"] for row in left] + [row.effect.body.get("prefix") for row in self.carried]
        return sorted(str(prefix).rstrip("/").rsplit("/", 1)[-1] for prefix in prefixes if prefix)


@pytest.fixture
async def bench(postgres: conftest.Database) -> AsyncIterator[Bench]:
    parts = urlsplit(postgres.dsn)
    connection = await asyncpg.connect(postgres.dsn)
    try:
        async with (
            wire_to(lambda: asyncio.open_connection(parts.hostname, parts.port)) as (wire, port),
            connect(postgres.dsn.replace(f":{parts.port}/", f":{port}/")) as database,
        ):
            yield Bench(database, wire, [], connection)
    finally:
        await connection.close()


def delivery(message_id: str = "m", *, sent: float | None = None, receives: int = 1) -> InFlightMessage:
    now = time.monotonic()
    received = Received(message_id, f"r-{message_id}", "{}", receive_count=receives, sent=sent or time.time())
    return InFlightMessage(received, "images", [], "owner", "trace", taken=now, expires=now + LEASE)


async def rendered(claim: Claim) -> Commit:
    key = f"{output_prefix(claim.asset, claim.stage, claim.attempt)}w150.webp"
    return Commit(StageState.DONE, Status.READY, renditions=[Rendition("w150", key, "image/webp", 1)])


async def unlucky(_claim: Claim) -> Commit:
    raise RetryableError(Code.STORAGE_ERROR, "no luck")


async def test_a_file_that_alone_can_be_at_fault_is_rejected_at_last(bench: Bench) -> None:
    async def strange(_claim: Claim) -> Commit:
        raise RetryableError(Code.UNFORESEEN, "a strange file", code_when_exhausted=Code.CORRUPT)

    asset_id, runner = await bench.asset(), bench.runner(strange, attempts=2)
    assert (await runner.run(asset_id, "v", delivery())).kind is OutcomeKind.RETRY
    assert (await runner.run(asset_id, "v", delivery())).kind is OutcomeKind.REJECTED
    assert (await bench.stage(asset_id))["state"] == "rejected"
    labels = {"stage": "image", "code": "unforeseen"}
    counted = runner.lifecycle.metrics.registry.get_sample_value("media_stage_failures_total", labels)
    assert counted == 2, "a fault of ours stays to be seen"


async def test_a_redriven_message_opens_a_new_round_with_attempts_from_zero(bench: Bench) -> None:
    asset_id = await bench.asset()
    runner = bench.runner(unlucky, attempts=2)
    assert (await runner.run(asset_id, "v", delivery())).kind is OutcomeKind.RETRY
    assert (await runner.run(asset_id, "v", delivery())).kind is OutcomeKind.DEAD
    assert (await bench.stage(asset_id))["state"] == "failed"
    redriven = delivery("another", sent=time.time() + 1)
    assert (await runner.run(asset_id, "v", redriven)).kind is OutcomeKind.RETRY, "the first of a new round"
    row = await bench.stage(asset_id)
    assert (row["attempt"], row["forgiven"]) == (3, 2)
    assert (await bench.runner(rendered).run(asset_id, "v", redriven)).kind is OutcomeKind.SUCCESS
    assert set(await bench.swept(asset_id)) == {"image-1", "image-2", "image-3"}, "all but the winner's"


async def test_a_message_that_was_on_its_way_when_the_stage_failed_opens_no_new_round(bench: Bench) -> None:
    """A duplicate of it, or the same one after a crash: else a file that cannot be rendered would be tried for ever."""
    asset_id = await bench.asset()
    old = time.time()
    runner = bench.runner(unlucky, attempts=1)
    assert (await runner.run(asset_id, "v", delivery(sent=old))).kind is OutcomeKind.DEAD
    assert (await runner.run(asset_id, "v", delivery("duplicate", sent=old))).kind is OutcomeKind.DUPLICATE
    assert (await runner.run(asset_id, "v", delivery(sent=old, receives=2))).kind is OutcomeKind.DEAD
    assert (await bench.stage(asset_id))["attempt"] == 1


async def test_a_duplicate_of_a_leased_stage_is_put_back_and_never_deleted(bench: Bench) -> None:
    asset_id = await bench.asset()
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(claim: Claim) -> Commit:
        begun.set()
        await go.wait()
        return await rendered(claim)

    first = asyncio.create_task(bench.runner(slow).run(asset_id, "v", delivery()))
    await begun.wait()
    outcome = await bench.runner(rendered).run(asset_id, "v", delivery("duplicate"))
    assert outcome.kind is OutcomeKind.RELEASED
    assert 1 < outcome.delay <= LEASE * 1.2
    go.set()
    assert (await first).kind is OutcomeKind.SUCCESS
    assert (await bench.runner(rendered).run(asset_id, "v", delivery("duplicate"))).kind is OutcomeKind.DUPLICATE
    assert (await bench.stage(asset_id))["attempt"] == 1, "no attempt was counted"


async def test_a_commit_after_the_lease_was_lost_is_refused_and_its_outputs_are_swept(bench: Bench) -> None:
    asset_id = await bench.asset()

    async def overtaken(claim: Claim) -> Commit:
        await bench.db.execute("UPDATE stages SET lease_until = now() - interval '1 s' WHERE asset_id = $1", asset_id)
        assert (await bench.runner(rendered).run(asset_id, "v", delivery("other"))).kind is OutcomeKind.SUCCESS
        return await rendered(claim)

    assert (await bench.runner(overtaken).run(asset_id, "v", delivery())).kind is OutcomeKind.RELEASED
    keys = [row["key"] for row in await bench.db.fetch("SELECT key FROM renditions WHERE asset_id = $1", asset_id)]
    assert len(keys) == 1
    assert "/image-2/" in keys[0], "the winner's"
    assert set(await bench.swept(asset_id)) == {"image-1"}, "the loser's, and never the winner's"


async def test_a_lease_that_ran_out_with_nobody_else_there_is_given_back_uncounted(bench: Bench) -> None:
    asset_id = await bench.asset()

    async def overslept(claim: Claim) -> Commit:
        await bench.db.execute("UPDATE stages SET lease_until = now() - interval '1 s' WHERE asset_id = $1", asset_id)
        return await rendered(claim)

    assert (await bench.runner(overslept).run(asset_id, "v", delivery())).kind is OutcomeKind.RELEASED
    row = await bench.stage(asset_id)
    assert (row["state"], row["attempt"], row["forgiven"]) == ("queued", 1, 1)


async def test_a_commit_outlasts_an_outage_of_postgres(bench: Bench) -> None:
    asset_id = await bench.asset()

    async def cut_off(claim: Claim) -> Commit:
        bench.wire.fault = Fault.CUT
        asyncio.get_running_loop().call_later(2.0, setattr, bench.wire, "fault", Fault.NONE)
        return await rendered(claim)

    assert (await bench.runner(cut_off).run(asset_id, "v", delivery())).kind is OutcomeKind.SUCCESS
    row = await bench.stage(asset_id)
    assert (row["state"], row["attempt"], row["forgiven"]) == ("done", 1, 0)


async def test_a_commit_whose_answer_was_lost_counts_and_is_not_swept(bench: Bench) -> None:
    """Written, but nobody told us: the second try must not take its own success for somebody else's."""
    asset_id = await bench.asset()
    runner = bench.runner(rendered)
    commit, calls = runner.lifecycle.stages.commit, [0]

    class Deaf(StageStore):
        async def commit(self, *arguments: object) -> list[OutboxRow]:
            rows = await commit(*arguments)  # type: ignore[arg-type] # passed on as they came
            calls[0] += 1
            raise UnavailableError(Dependency.POSTGRES, f"the answer is lost, with its {len(rows)} rows")

    deaf = replace(runner.lifecycle, stages=Deaf(bench.database))
    outcome = await replace(runner, lifecycle=deaf).run(asset_id, "v", delivery())
    assert (outcome.kind, calls) == (OutcomeKind.SUCCESS, [1])
    assert await bench.swept(asset_id) == []


async def test_an_unavailable_dependency_counts_no_attempt(bench: Bench) -> None:
    asset_id = await bench.asset()

    async def away(_claim: Claim) -> Commit:
        raise UnavailableError(Dependency.S3, "away")

    for _ in range(5):
        with pytest.raises(UnavailableError):
            await bench.runner(away, attempts=2).run(asset_id, "v", delivery())
    row = await bench.stage(asset_id)
    assert (row["state"], row["attempt"] - row["forgiven"]) == ("queued", 0)


async def test_a_cancelled_worker_gives_its_lease_back(bench: Bench) -> None:
    asset_id = await bench.asset()
    begun = asyncio.Event()

    async def endless(_claim: Claim) -> Commit:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    work = asyncio.create_task(bench.runner(endless).run(asset_id, "v", delivery()))
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    row = await bench.stage(asset_id)
    assert (row["state"], row["attempt"] - row["forgiven"]) == ("queued", 0)
