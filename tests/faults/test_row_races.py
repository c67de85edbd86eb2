"""Two workers write one row at the same moment. The row is locked until both wait, so that every run is a race."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from media.asset import AssetType, DeliveryClass, ObjectVersion, Stage, StageState, Status, upload_key
from media.asset_store.assets import AssetStore, Binding, NewAsset, StoredObject
from media.asset_store.database import connect
from media.asset_store.stages import Claim, Commit, Fence, StageStore
from media.errors import Code, LeaseLostError
from tests.conftest import Database

BUCKET = "bucket"
VERSION = "v1"


class LockedStores:
    """The stores on one database, and a connection of the test's own that can hold an asset's row."""

    def __init__(self, database: Any, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.assets, self.stages = AssetStore(database), StageStore(database)
        self.connection = connection

    async def pending(self, asset_type: AssetType = AssetType.VIDEO) -> StoredObject:
        asset_id = uuid4()
        key = upload_key(asset_type, "owner", asset_id, "file")
        new = NewAsset(asset_id, "owner", asset_type, DeliveryClass.COURSE_VIDEO, "video/mp4", "file", BUCKET, key)
        assert await self.assets.create(new)
        return StoredObject(ObjectVersion(BUCKET, key, VERSION), etag="e", size=1, sequencer="1")

    async def waiting(self) -> UUID:
        """Make an asset whose job runs."""
        stored = await self.pending()
        asset_id = UUID(stored.version.key.split("/")[3])
        await self.assets.bind(asset_id, stored)
        scan = await self.claimed(asset_id, Stage.SCAN)
        after = Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.TRANSCODE)
        await self.stages.commit(scan.fence, after)
        transcode = await self.claimed(asset_id, Stage.TRANSCODE)
        await self.stages.record_submission(transcode.fence, {"attempt": transcode.attempt})
        await self.stages.commit(transcode.fence, Commit(StageState.WAITING, Status.PROCESSING, job_id="job"))
        return asset_id

    async def claimed(self, asset_id: UUID, stage: Stage) -> Claim:
        claim = await self.stages.claim(asset_id, stage, version_id=VERSION, lease=60)
        assert isinstance(claim, Claim)
        return claim

    @asynccontextmanager
    async def row_held(self, asset_id: UUID) -> AsyncIterator[None]:
        async with self.connection.transaction():
            await self.connection.execute("SELECT 1 FROM assets WHERE asset_id = $1 FOR UPDATE", asset_id)
            yield

    async def blocked[T](self, work: Coroutine[Any, Any, T], *, count: int) -> "asyncio.Task[T]":
        """Start the work, and return when so many statements wait for a lock."""
        task = asyncio.create_task(work)
        async with asyncio.timeout(10):
            while await self._waiting_for_locks() < count:  # noqa: ASYNC110 - the event is in the database
                await asyncio.sleep(0.01)
        return task

    async def _waiting_for_locks(self) -> int:
        statement = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        # Another connection's view is only refreshed outside of the snapshot that a transaction keeps.
        await self.connection.execute("SELECT pg_stat_clear_snapshot()")
        return int(await self.connection.fetchval(statement))


@pytest.fixture
async def store(postgres: Database) -> AsyncIterator[LockedStores]:
    connection = await asyncpg.connect(postgres.dsn)
    try:
        async with connect(postgres.dsn) as database:
            yield LockedStores(database, connection)
    finally:
        await connection.close()


async def test_the_same_version_announced_twice_at_once_is_never_taken_for_another_one(store: LockedStores) -> None:
    stored = await store.pending()
    asset_id = UUID(stored.version.key.split("/")[3])
    async with store.row_held(asset_id):
        first = await store.blocked(store.assets.bind(asset_id, stored), count=1)
        second = await store.blocked(store.assets.bind(asset_id, stored), count=2)
    results = [binding for binding, _ in (await first, await second)]
    assert sorted(results) == [Binding.BOUND, Binding.SAME]


async def test_another_version_announced_at_once_is_recognized(store: LockedStores) -> None:
    stored = await store.pending()
    asset_id = UUID(stored.version.key.split("/")[3])
    other = StoredObject(ObjectVersion(BUCKET, stored.version.key, "v2"), etag="f", size=1, sequencer="2")
    async with store.row_held(asset_id):
        first = await store.blocked(store.assets.bind(asset_id, stored), count=1)
        second = await store.blocked(store.assets.bind(asset_id, other), count=2)
    assert [binding for binding, _ in (await first, await second)] == [Binding.BOUND, Binding.OTHER]


@pytest.mark.parametrize("order", [("0A", "FF1"), ("FF1", "0A")])
async def test_the_version_that_is_heard_of_first_stays_whatever_its_sequencer(
    store: LockedStores, order: tuple[str, str]
) -> None:
    """Why: docs/decisions/stages.md, "The first event to arrive binds the version"."""
    key = (await store.pending()).version.key
    asset_id = UUID(key.split("/")[3])
    first, second = (
        StoredObject(ObjectVersion(BUCKET, key, f"v{sequencer}"), etag="e", size=1, sequencer=sequencer)
        for sequencer in order
    )
    bindings = [(await store.assets.bind(asset_id, stored))[0] for stored in (first, second, second, first)]
    assert bindings == [Binding.BOUND, Binding.OTHER, Binding.OTHER, Binding.SAME]
    asset = await store.assets.get(asset_id)
    assert asset
    assert asset.source == first.version


async def test_a_progress_report_and_the_end_of_its_job_at_once_do_not_block_each_other(store: LockedStores) -> None:
    asset_id = await store.waiting()
    row = await store.stages.get(asset_id, Stage.TRANSCODE)
    assert row
    fence = Fence(asset_id, Stage.TRANSCODE, row.attempt, StageState.WAITING)
    async with store.row_held(asset_id):
        end = await store.blocked(store.stages.commit(fence, Commit(StageState.DONE, Status.READY)), count=1)
        report = await store.blocked(store.stages.progress(asset_id, "job", 50), count=2)
    await end
    assert await report is False


async def test_giving_up_and_a_commit_at_once_do_not_block_each_other(store: LockedStores) -> None:
    asset_id = await store.waiting()
    row = await store.stages.get(asset_id, Stage.TRANSCODE)
    assert row
    fence = Fence(asset_id, Stage.TRANSCODE, row.attempt, StageState.WAITING)
    async with store.row_held(asset_id):
        end = await store.blocked(store.stages.commit(fence, Commit(StageState.DONE, Status.READY)), count=1)
        given_up = Commit(StageState.FAILED, Status.FAILED, code=Code.STALLED)
        stalled = await store.blocked(store.stages.commit(replace(fence, lease_over=True), given_up), count=2)
    await end
    with pytest.raises(LeaseLostError):
        await stalled
    asset = await store.assets.get(asset_id)
    assert asset
    assert asset.status is Status.READY


async def test_a_claim_that_had_to_wait_reads_the_current_plan(store: LockedStores) -> None:
    asset_id = await store.waiting()
    await store.connection.execute("UPDATE stages SET state = 'failed' WHERE asset_id = $1", asset_id)
    async with store.row_held(asset_id):
        claim = await store.blocked(
            store.stages.claim(asset_id, Stage.TRANSCODE, version_id=VERSION, lease=60), count=1
        )
        await store.connection.execute("UPDATE stages SET plan = NULL WHERE asset_id = $1", asset_id)
    claimed = await claim
    assert isinstance(claimed, Claim)
    assert claimed.plan is None


@pytest.mark.parametrize("state", [StageState.FAILED, StageState.REJECTED])
async def test_a_stage_that_failed_or_was_rejected_has_no_plan(store: LockedStores, state: StageState) -> None:
    """Its outputs are cleaned up; if the plan stayed, a new round would adopt the job that writes them."""
    asset_id = await store.waiting()
    row = await store.stages.get(asset_id, Stage.TRANSCODE)
    assert row
    fence = Fence(asset_id, Stage.TRANSCODE, row.attempt, StageState.WAITING)
    await store.stages.commit(fence, Commit(state, Status(state.value)))
    ended = await store.stages.get(asset_id, Stage.TRANSCODE)
    assert ended
    assert ended.plan is None
