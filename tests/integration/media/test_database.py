"""A refused password is told apart from a Postgres that is down."""

import asyncio
from unittest import mock

import asyncpg
import pytest

from media.asset_store import database
from media.errors import UnavailableError
from tests.conftest import Database


async def answers(pool: database.Database) -> bool:
    try:
        return bool(await pool.fetchval("SELECT 1"))
    except UnavailableError:
        return False


async def test_refused_password_needs_a_restart_until_it_is_accepted(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "HOPELESS", 0.000_001)
    role = f"rotated_{postgres.dsn.rpartition('/')[2]}"
    admin = await asyncpg.connect(postgres.dsn)
    try:
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'before'")
        place = postgres.dsn.rpartition("@")[2]
        async with database.connect(f"postgresql://{role}:before@{place}") as pool:
            assert await pool.fetchval("SELECT 1") == 1
            await admin.execute(f"ALTER ROLE {role} PASSWORD 'after'")
            assert await pool.fetchval("SELECT 1") == 1, "an open connection goes on"
            assert not pool.needs_restart
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
            for _ in range(3):
                with pytest.raises(UnavailableError):
                    await pool.fetchval("SELECT 1")
            assert "refused our user or password" in pool.needs_restart
            await admin.execute(f"ALTER ROLE {role} PASSWORD 'before'")
            async with asyncio.timeout(30):
                while not await answers(pool):
                    pass  # a pooler does not ask Postgres again at once
            assert not pool.needs_restart
    finally:
        await admin.execute(f"DROP ROLE IF EXISTS {role}")
        await admin.close()


async def test_pool_that_goes_on_after_a_short_refusal_needs_no_restart(postgres: Database) -> None:
    refusals = database.Refusals()
    wrong = postgres.dsn.replace("@", "x@", 1)
    with mock.patch("media.asset_store.database.time.monotonic", return_value=0.0) as clock:
        async with asyncpg.create_pool(postgres.dsn, min_size=1, connect=refusals.connect) as opened:
            pool = database.Database(database.ConnectionQueue(opened, 10), refusals)
            with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
                await refusals.connect(wrong)
            clock.return_value = 10 * database.HOPELESS
            assert await pool.fetchval("SELECT 1") == 1
            assert not pool.needs_restart
            with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
                await refusals.connect(wrong)
            assert pool.needs_restart


async def test_postgres_that_is_down_needs_no_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "HOPELESS", 0.000_001)
    async with database.connect("postgresql://nobody@127.0.0.1:9/none") as pool:
        with pytest.raises(UnavailableError):
            await pool.fetchval("SELECT 1")
        assert not pool.needs_restart
