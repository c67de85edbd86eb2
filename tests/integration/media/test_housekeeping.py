"""Forgetting: what is old goes, what is asked for stays, and one daemon at a time does it."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from media.asset_store import database as postgres_database
from media.asset_store.assets import AssetStore
from media.asset_store.housekeeping import Housekeeping, Retention
from media.asset_store.stage_maintenance import StageMaintenance
from tests import conftest

DAY = 86_400.0


@pytest.fixture
async def database(postgres: conftest.Database) -> AsyncIterator[postgres_database.Database]:
    async with postgres_database.connect(postgres.dsn) as connected:
        yield connected


async def create(database: postgres_database.Database, status: str = "ready", days: float = 40) -> UUID:
    """Create an asset that ended so long ago, and its transcoding with a plan."""
    asset_id = uuid4()
    await database.execute(
        "INSERT INTO assets (asset_id, owner_id, asset_type, status, delivery, content_type, original_filename, bucket,"
        " key, updated_at) VALUES ($1, 'o', 'video', $2, 'public', 'x', 'x', 'b', 'k', now() - $3 * interval '1 day')",
        asset_id,
        status,
        days,
    )
    await database.execute(
        "INSERT INTO stages (asset_id, stage, state, plan, updated_at)"
        " VALUES ($1, 'transcode', 'done', '{}', now() - $2 * interval '1 day')",
        asset_id,
        days,
    )
    return asset_id


async def tidy(database: postgres_database.Database, retention: Retention | None = None) -> None:
    for _, step in Housekeeping(database, retention or Retention()).steps():
        await step()


async def left(database: postgres_database.Database) -> set[UUID]:
    return {row["asset_id"] for row in await database.fetch("SELECT asset_id FROM assets")}


async def test_records_of_what_was_deleted_go_unless_something_is_left_to_do(
    database: postgres_database.Database,
) -> None:
    old = [await create(database, "deleted") for _ in range(3)]
    kept = {await create(database, "deleted", days=1), await create(database, "ready")}
    waiting = await create(database, "deleted")
    insert = "INSERT INTO outbox (asset_id, kind, target, body) VALUES ($1, 'delete_prefix', 'b', '{}')"
    await database.execute(insert, waiting)
    await tidy(database, Retention(deleted=None))
    assert await left(database) == {*old, *kept, waiting}
    await tidy(database)
    assert await left(database) == {*kept, waiting}


async def test_timelines_lose_old_entries_but_the_scans_verdicts(database: postgres_database.Database) -> None:
    asset_id, store = await create(database), AssetStore(database)
    insert = "INSERT INTO timeline (asset_id, stage, code, at) VALUES ($1, $2, $3, now() - $4 * interval '1 day')"
    for stage, code, days in (("scan", "scanning", 99), ("scan", "clean", 99), (None, "ready", 99), (None, "seen", 1)):
        await database.execute(insert, asset_id, stage, code, float(days))
    await tidy(database)
    assert len(await store.timeline(asset_id)) == 4
    await tidy(database, Retention(timeline=30 * DAY))
    assert [entry.code for entry in await store.timeline(asset_id)] == ["clean", "seen"]
    found = await store.get_many([asset_id], owner_id=None, originals=[asset_id])
    assert found[asset_id][1], "it was scanned whole"
    await database.execute("UPDATE timeline SET at = now() - interval '99 days' WHERE code = 'seen'")
    await tidy(database, Retention(timeline=30 * DAY))
    assert [entry.code for entry in await store.timeline(asset_id)] == ["clean"]


async def test_plans_of_what_was_done_long_ago_are_dropped(database: postgres_database.Database) -> None:
    old, new = await create(database), await create(database, days=1)
    await tidy(database)
    rows = await database.fetch("SELECT asset_id FROM stages WHERE plan IS NOT NULL")
    assert [row["asset_id"] for row in rows] == [new] != [old]


async def test_changes_that_were_told_are_deleted(database: postgres_database.Database) -> None:
    await create(database)
    await database.execute("UPDATE changes SET at = now() - interval '1 hour'")
    new = await create(database)
    await tidy(database)
    assert [row["asset_id"] for row in await database.fetch("SELECT asset_id FROM changes")] == [new]


async def test_listeners_of_the_version_before_are_notified_while_there_are_any(
    postgres: conftest.Database, database: postgres_database.Database
) -> None:
    heard: asyncio.Queue[object] = asyncio.Queue()
    other = await asyncpg.connect(postgres.dsn)
    before = await asyncpg.connect(postgres.dsn, server_settings={"application_name": "media-changes"})
    for connection in (other, before):
        await connection.add_listener("asset", lambda *told: heard.put_nowait(told[-1]))
    await tidy(database)
    old = await create(database)
    async with asyncio.timeout(10):
        assert {await heard.get() for _ in range(2)} == {f"{old} o"}
        await before.close()
        while await database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'media-changes'"):
            pass
    await tidy(database)
    await create(database)
    await other.fetchval("SELECT 1")
    assert heard.empty()
    await other.close()


async def test_one_daemon_reconciles_at_a_time(database: postgres_database.Database) -> None:
    maintenance = StageMaintenance(database)
    assert await maintenance.lease("a")
    assert await maintenance.lease("a")
    assert not await maintenance.lease("b")
    await maintenance.release("b")
    assert not await maintenance.lease("b")
    await maintenance.release("a")
    assert await maintenance.lease("b")
    await database.execute("UPDATE leases SET until = now()")
    assert await maintenance.lease("a")
