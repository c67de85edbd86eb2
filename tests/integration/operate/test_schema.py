"""schema.sql applies to an empty database and to every version of itself, while the service goes on."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from media.asset import AssetType, DeliveryClass, upload_key
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import Database, connect
from media.schema import __main__ as schema_main
from media.schema import apply as schema
from media.schema.apply import SchemaError

RELEASED = sorted((Path(__file__).parent / "schemas").glob("*.sql"))

_CATALOG = """
SELECT 'column', table_name,
       column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = 'public'
UNION SELECT 'index', tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION SELECT 'constraint', conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid > 0
  AND connamespace = 'public'::regnamespace
UNION SELECT 'trigger', event_object_table, trigger_name FROM information_schema.triggers
ORDER BY 1, 2, 3
"""


@pytest.fixture
async def empty(postgres_server: Postgres) -> AsyncIterator[str]:
    """An empty database."""
    name = f"empty_{uuid4().hex}"
    await postgres_part.create_database(postgres_server, name)
    yield postgres_server.dsn(name)
    await postgres_part.drop_database(postgres_server, name)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def catalog(dsn: str) -> list[tuple[str, ...]]:
    async with connected(dsn) as connection:
        return [tuple(row) for row in await connection.fetch(_CATALOG)]


async def release(dsn: str, script: Path) -> None:
    """Apply a released version of the file."""
    async with connected(dsn) as connection:
        await connection.execute(await asyncio.to_thread(script.read_text))


def new_asset() -> NewAsset:
    asset_id = uuid4()
    key = upload_key(AssetType.IMAGE, "dr-house", asset_id, "x.jpg")
    return NewAsset(asset_id, "dr-house", AssetType.IMAGE, DeliveryClass.PUBLIC, "image/jpeg", "x.jpg", "bucket", key)


async def test_empty_is_refused_then_applied_then_known(empty: str) -> None:
    with pytest.raises(SchemaError, match="schema none, this code needs"):
        await schema.check(empty)
    assert await schema.apply(empty) is True
    assert await schema.apply(empty) is False
    await schema.check(empty)


@pytest.mark.parametrize("script", RELEASED, ids=lambda path: path.stem)
async def test_every_release_becomes_what_an_empty_database_becomes(
    empty: str, postgres_server: Postgres, script: Path
) -> None:
    await release(empty, script)
    async with connected(empty) as connection:
        await connection.execute(
            "INSERT INTO assets"
            " (asset_id, owner_id, asset_type, delivery, content_type, original_filename, bucket, key)"
            " VALUES (gen_random_uuid(), 'dr-house', 'image', 'public', 'image/jpeg', 'x', 'b', 'k')"
        )
    with pytest.raises(SchemaError, match="run `python -m media"):
        await schema.check(empty)
    await schema.apply(empty)
    await schema.check(empty)
    assert await catalog(empty) == await catalog(postgres_server.dsn("media_template"))
    async with connected(empty) as connection:
        assert await connection.fetchval("SELECT count(*) FROM assets") == 1


async def test_a_newer_schema_is_accepted_only_when_it_says_so(empty: str) -> None:
    await schema.apply(empty)
    async with connected(empty) as connection:
        newer = schema.VERSION + 1
        await connection.execute("INSERT INTO schema_version (version, oldest_code) VALUES ($1, $2)", newer, newer - 1)
        await schema.check(empty)
        await connection.execute("UPDATE schema_version SET oldest_code = $1 WHERE version = $1", newer)
        with pytest.raises(SchemaError, match=f"needs code of version {newer}"):
            await schema.check(empty)
        with pytest.raises(SchemaError, match="this code is older"):
            await schema.apply(empty)


async def test_ensure_upgrades_older_schemas_and_leaves_newer_ones(empty: str) -> None:
    assert await schema.ensure(empty) is True
    assert await schema.ensure(empty) is False
    async with connected(empty) as connection:
        newer = schema.VERSION + 1
        await connection.execute("INSERT INTO schema_version (version, oldest_code) VALUES ($1, $2)", newer, newer - 1)
        assert await schema.ensure(empty) is False
        await connection.execute("UPDATE schema_version SET oldest_code = $1 WHERE version = $1", newer)
        with pytest.raises(SchemaError, match=f"needs code of version {newer}"):
            await schema.ensure(empty)


async def test_waiting_for_another_apply_is_reported(
    empty: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "LOCK_WAIT", 0.2)
    monkeypatch.setenv("MEDIA_DATABASE_URL", empty)
    async with connected(empty) as holder:
        await holder.execute("SELECT pg_advisory_lock($1)", 0x0D0CF119)
        assert await asyncio.to_thread(schema_main.main, ["apply"]) == 1
    assert "another process has been applying a schema" in capsys.readouterr().err


async def test_interrupted_apply_shows_no_traceback(empty: str) -> None:
    async with connected(empty) as holder:
        await holder.execute("SELECT pg_advisory_lock($1)", 0x0D0CF119)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "media.schema",
            "apply",
            cwd=Path(__file__).parents[3],
            env={**os.environ, "MEDIA_DATABASE_URL": empty},
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # what a shell starts with & ignores it
        )
        async with asyncio.timeout(120):  # a lost cancel request costs the connection its deadline
            while not await holder.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"):
                pass  # each look is a request: the loop waits by itself
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    assert (process.returncode, err.decode().count("\n")) == (130, 1)
    assert "apply goes on from there" in err.decode()


@pytest.mark.parametrize("command", ["apply", "check", "ensure"])
@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://media:s3cr/t@db:5432/media",
        "postgresql://media:12/s3cr@db:5432/media",
        "postgresql://media:12?s3cr@db:5432/media",
        "postgresql://media:12#s3cr@db:5432/media",
        "postgresql://media:s3cr[t@db:5432/media",
        "postgresql://media:s3cret@db:fivethousand/media",
        "postgresql://media:s3cret@db:70000/media",
        "mysql://media:s3cret@db/media",
        "media:s3cret@db",
    ],
)
def test_wrong_address_is_reported_without_its_password(
    dsn: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDIA_DATABASE_URL", dsn)
    assert schema_main.main([command]) == 2
    said = capsys.readouterr().err
    assert "MEDIA_DATABASE_URL: must b" in said
    assert "s3cr" not in said


async def create_by_older_code(database: Database) -> UUID:
    """Register an asset as the code of the release before does: it knows none of the new columns."""
    new = new_asset()
    await database.execute(
        "INSERT INTO assets (asset_id, owner_id, asset_type, delivery, content_type, original_filename, bucket, key)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        *(new.asset_id, new.owner_id, new.asset_type, new.delivery, new.content_type, new.original_filename),
        *(new.bucket, new.key),
    )
    return new.asset_id


async def test_concurrent_applies_change_the_schema_once(empty: str) -> None:
    assert sorted(await asyncio.gather(*(schema.apply(empty) for _ in range(5)))) == [False] * 4 + [True]


async def test_upgrade_under_load_fails_no_request(empty: str) -> None:
    await release(empty, RELEASED[-1])
    upgraded = asyncio.Event()
    done = 0

    async def work(database: Database) -> None:
        nonlocal done
        while not upgraded.is_set():
            asset_id = await create_by_older_code(database)
            assert await AssetStore(database).get(asset_id)
            await AssetStore(database).note(asset_id, "worked")
            done += 1

    async with connect(empty) as database:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(work(database))
            await schema.apply(empty)
            upgraded.set()
        assert await database.fetchval("SELECT count(*) FROM assets") == done
    assert done > 0
    await schema.check(empty)


async def test_locked_table_delays_the_upgrade_but_no_reader(empty: str) -> None:
    await release(empty, RELEASED[-1])
    async with connected(empty) as holder, connect(empty) as database:
        async with holder.transaction():
            await holder.execute("SELECT count(*) FROM assets")  # a long report: ACCESS SHARE until its end
            applying = asyncio.create_task(schema.apply(empty))
            for _ in range(20):
                async with asyncio.timeout(3 * schema.LOCK_TIMEOUT):
                    await AssetStore(database).get(uuid4())
                    await create_by_older_code(database)
        assert await applying
    await schema.check(empty)
