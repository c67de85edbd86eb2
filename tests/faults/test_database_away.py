"""Postgres falls silent: a connection that never answers again is neither waited for nor used again."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from media.asset_store import database as database_part
from media.asset_store.database import Database, connect
from media.errors import UnavailableError
from tests import conftest
from tests.faults.fault_proxies import Fault, TcpProxy, tcp_proxy

CONNECTIONS = 5
DEADLINE = 30.0
"""Seconds on a machine with much else to do. What waits for a dead connection waits for minutes."""


@pytest.fixture
async def proxied(
    postgres: conftest.Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Database, TcpProxy]]:
    """Fill a pool of idle connections behind a proxy."""
    parts = urlsplit(postgres.dsn)
    async with (
        tcp_proxy(lambda: asyncio.open_connection(parts.hostname, parts.port)) as (proxy, port),
        connect(postgres.dsn.replace(f":{parts.port}/", f":{port}/"), max_size=CONNECTIONS) as database,
    ):
        await asyncio.gather(*(database.fetchval("SELECT pg_sleep(0.2)") for _ in range(CONNECTIONS)))
        monkeypatch.setattr(database_part, "STATEMENT_TIMEOUT", 2.0)  # not before: a busy machine connects slowly
        yield database, proxy


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.CUT])
async def test_after_an_outage_the_whole_pool_serves_again(proxied: tuple[Database, TcpProxy], fault: Fault) -> None:
    database, proxy = proxied
    proxy.fault = fault
    async with asyncio.timeout(DEADLINE):
        answers = await asyncio.gather(*(database.fetchval("SELECT 1") for _ in range(2)), return_exceptions=True)
    assert all(isinstance(answer, UnavailableError) for answer in answers)
    proxy.fault = Fault.NONE
    async with asyncio.timeout(DEADLINE):
        assert await asyncio.gather(*(database.fetchval("SELECT 1") for _ in range(4 * CONNECTIONS))) == [1] * 20


async def test_interrupted_statements_cost_the_pool_no_connection(
    proxied: tuple[Database, TcpProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _ = proxied
    monkeypatch.setattr(database_part, "STATEMENT_TIMEOUT", DEADLINE)  # nothing is away, and a machine may be busy
    for _ in range(2 * CONNECTIONS):
        statement = asyncio.create_task(database.fetchval("SELECT pg_sleep(30)"))
        await asyncio.sleep(0)
        while not statement.done():
            statement.cancel()
            await asyncio.wait({statement}, timeout=1)
    assert await asyncio.gather(*(database.fetchval("SELECT 1") for _ in range(CONNECTIONS))) == [1] * CONNECTIONS


@pytest.mark.parametrize("sqlstate", ["58030", "58P01", "XX000", "XX001", "55P03", "53100", "57P03", "40P01"])
async def test_errors_of_the_server_count_as_unavailable(proxied: tuple[Database, TcpProxy], sqlstate: str) -> None:
    database, _ = proxied
    with pytest.raises(UnavailableError):
        await database.execute(f"DO $$ BEGIN RAISE EXCEPTION 'its own fault' USING ERRCODE = '{sqlstate}'; END $$")


@pytest.mark.parametrize("sqlstate", ["26000", "42P05", "25P02"])
async def test_a_session_that_a_pooler_mixed_up_is_replaced(proxied: tuple[Database, TcpProxy], sqlstate: str) -> None:
    database, proxy = proxied
    before = proxy.connections
    with pytest.raises(UnavailableError):
        await database.execute(f"DO $$ BEGIN RAISE EXCEPTION 'mixed up' USING ERRCODE = '{sqlstate}'; END $$")
    assert await asyncio.gather(*(database.fetchval("SELECT pg_sleep(0.1)") for _ in range(CONNECTIONS)))
    assert proxy.connections == before + 1


async def test_sessions_that_became_read_only_are_replaced_and_the_statement_succeeds(
    proxied: tuple[Database, TcpProxy],
) -> None:
    database, proxy = proxied
    before = proxy.connections
    read_only = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
    await asyncio.gather(*(_hold(database, read_only) for _ in range(CONNECTIONS)))
    await asyncio.gather(*(database.probe() for _ in range(2 * CONNECTIONS)))
    assert before + CONNECTIONS <= proxy.connections <= before + 2 * CONNECTIONS


async def _hold(database: Database, statement: str) -> None:
    """Run a statement on a session of its own: all are busy until the last one begins."""
    await database.execute(f"{statement}; SELECT pg_sleep(0.2)")


async def test_a_deadlock_is_tried_again(proxied: tuple[Database, TcpProxy]) -> None:
    database, _ = proxied
    tries = "CREATE SEQUENCE tries"
    await database.execute(tries)
    await database.execute(
        "DO $$ BEGIN IF nextval('tries') < 3 THEN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END IF; END $$"
    )
    assert await database.fetchval("SELECT last_value FROM tries") == 3


async def test_statements_that_are_given_up_end_in_the_server_too(
    proxied: tuple[Database, TcpProxy], postgres: conftest.Database
) -> None:
    database, _ = proxied
    holder, observer = await asyncpg.connect(postgres.dsn), await asyncpg.connect(postgres.dsn)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE assets IN ACCESS EXCLUSIVE MODE")
            for _ in range(3):
                ended = await asyncio.gather(
                    *(database.fetchval("SELECT count(*) FROM assets") for _ in range(CONNECTIONS)),
                    return_exceptions=True,
                )
                assert all(isinstance(end, UnavailableError) for end in ended)
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'media'"
            assert await observer.fetchval(sessions) <= CONNECTIONS
            assert await observer.fetchval(f"{sessions} AND state = 'active'") == 0
    finally:
        await holder.close()
        await observer.close()


async def test_a_probe_needs_what_the_work_needs(
    proxied: tuple[Database, TcpProxy], postgres: conftest.Database
) -> None:
    database, _ = proxied
    await database.probe()
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
    holder = await asyncpg.connect(postgres.dsn)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE stages IN SHARE MODE")  # as CREATE INDEX does
            with pytest.raises(UnavailableError):
                await database.probe()
    finally:
        await holder.close()
    await database.probe()


async def test_an_error_of_the_statement_is_raised_unchanged(proxied: tuple[Database, TcpProxy]) -> None:
    with pytest.raises(asyncpg.DataError):
        await proxied[0].execute("SELECT 1 / 0")
