"""A new index of a table in use: readers and writers go on, and what was interrupted goes on where it stood."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from media.asset import AssetType, DeliveryClass, upload_key
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import connect
from media.schema import apply as schema
from media.schema import indexes
from media.schema.apply import SchemaError
from media.schema.parts import expected
from tests.conftest import Database

SLOW = """
CREATE OR REPLACE FUNCTION slow(asset_id uuid) RETURNS uuid IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_lock_shared(77); PERFORM pg_advisory_unlock_shared(77); RETURN asset_id; END $$;
"""
INDEX = "CREATE INDEX IF NOT EXISTS assets_slow ON assets (slow(asset_id));\n"
BUILDS = (
    "pg_stat_progress_create_index WHERE command = 'CREATE INDEX CONCURRENTLY' AND phase LIKE 'building%'"
    " AND datname = current_database()"
)


def new_asset() -> NewAsset:
    asset_id = uuid4()
    key = upload_key(AssetType.IMAGE, "dr-house", asset_id, "x.jpg")
    return NewAsset(asset_id, "dr-house", AssetType.IMAGE, DeliveryClass.PUBLIC, "image/jpeg", "x.jpg", "bucket", key)


@pytest.fixture
async def script(postgres: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The schema with an index that takes as long to build as somebody holds a lock, and a table that is in use."""
    path = tmp_path / "schema.sql"
    path.write_text(await asyncio.to_thread(schema.SCHEMA.read_text) + INDEX)
    parts = [*expected(), "index assets.assets_slow"]
    monkeypatch.setattr(schema, "expected", lambda: parts)
    connection = await asyncpg.connect(postgres.dsn)
    await connection.execute(SLOW)
    await connection.execute(
        "INSERT INTO assets (asset_id, owner_id, asset_type, delivery, content_type, original_filename, bucket, key)"
        " VALUES (gen_random_uuid(), 'o', 'image', 'public', 'x', 'x', 'b', 'k')"
    )
    await connection.close()
    return path


@pytest.fixture
async def watcher(postgres: Database) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(postgres.dsn)
    yield connection
    await connection.close()


async def until_building(watcher: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with asyncio.timeout(30):
        while not await watcher.fetchval(f"SELECT count(*) FROM {BUILDS}"):  # noqa: S608 - ours
            pass


async def test_readers_and_writers_go_on_while_an_index_is_built(
    postgres: Database, script: Path, watcher: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await watcher.execute("SELECT pg_advisory_lock(77)")
    applying = asyncio.create_task(schema.apply(postgres.dsn, script))
    await until_building(watcher)
    async with connect(postgres.dsn) as database:
        store = AssetStore(database)
        created = await store.create(new_asset())
        assert created
        assert await store.get(created.asset_id)
        assert await store.delete(created.asset_id, [])
    assert not applying.done(), "the calls came while the index was built"
    await watcher.execute("SELECT pg_advisory_unlock(77)")
    assert await applying
    assert "assets_slow" in await watcher.fetchval("SELECT string_agg(indexname, ' ') FROM pg_indexes")
    assert await schema.apply(postgres.dsn, script) is False


async def test_an_interrupted_build_goes_on_with_the_next_call(
    postgres: Database, script: Path, watcher: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await watcher.execute("SELECT pg_advisory_lock(77)")
    applying = asyncio.create_task(schema.apply(postgres.dsn, script))
    await until_building(watcher)
    await watcher.execute(f"SELECT pg_cancel_backend(pid) FROM {BUILDS}")  # noqa: S608 - ours
    with pytest.raises(SchemaError, match="applying again goes on from here"):
        await applying
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    assert await watcher.fetchval(invalid) == 1
    await watcher.execute("SELECT pg_advisory_unlock(77)")
    assert await schema.apply(postgres.dsn, script) is True
    assert await watcher.fetchval(invalid) == 0


async def test_a_transaction_that_does_not_end_is_named(
    postgres: Database, script: Path, watcher: "asyncpg.Connection[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "LOCK_TIMEOUT", 0.2)
    async with watcher.transaction():
        # A change elsewhere would hold up the short transaction too. This one has only an old snapshot of the table.
        await watcher.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await watcher.fetchval("SELECT 1")
        with pytest.raises(SchemaError, match="transactions that do not end"):
            await schema.apply(postgres.dsn, script)
    assert await schema.apply(postgres.dsn, script) is True


async def test_what_is_replaced_is_dropped_once_its_successor_is_there(
    postgres: Database, script: Path, watcher: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await watcher.execute("CREATE INDEX assets_old ON assets (owner_id)")
    text = await asyncio.to_thread(script.read_text)
    await asyncio.to_thread(script.write_text, f"DROP INDEX IF EXISTS assets_old;\n{text}")
    await watcher.execute("SELECT pg_advisory_lock(77)")
    applying = asyncio.create_task(schema.apply(postgres.dsn, script))
    await until_building(watcher)
    assert await watcher.fetchval("SELECT to_regclass('assets_old') IS NOT NULL")
    await watcher.execute("SELECT pg_advisory_unlock(77)")
    assert await applying is True
    assert await watcher.fetchval("SELECT to_regclass('assets_old') IS NULL")
