"""Postgres falls silent: connections that never answer again must not be waited for, nor given to anybody."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from media.asset_store import database as database_part
from media.asset_store.database import Database, connect
from media.errors import UnavailableError
from tests import conftest
from tests.faults.wires import Fault, Wire, wire_to

CONNECTIONS = 5


@pytest.fixture
async def wired(postgres: conftest.Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Database, Wire]]:
    """A pool, full and idle, behind a wire."""
    monkeypatch.setattr(database_part, "STATEMENT_TIMEOUT", 2.0)
    parts = urlsplit(postgres.dsn)
    async with (
        wire_to(lambda: asyncio.open_connection(parts.hostname, parts.port)) as (wire, port),
        connect(postgres.dsn.replace(f":{parts.port}/", f":{port}/"), max_size=CONNECTIONS) as database,
    ):
        await asyncio.gather(*(database.fetchval("SELECT pg_sleep(0.2)") for _ in range(CONNECTIONS)))
        yield database, wire


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.CUT])
async def test_after_an_outage_the_whole_pool_serves_again(wired: tuple[Database, Wire], fault: Fault) -> None:
    database, wire = wired
    wire.fault = fault
    began = time.monotonic()
    answers = await asyncio.gather(*(database.fetchval("SELECT 1") for _ in range(2)), return_exceptions=True)
    assert all(isinstance(answer, UnavailableError) for answer in answers)
    assert time.monotonic() - began < 5
    wire.fault = Fault.NONE
    began = time.monotonic()
    assert await asyncio.gather(*(database.fetchval("SELECT 1") for _ in range(4 * CONNECTIONS))) == [1] * 20
    assert time.monotonic() - began < 5


async def test_a_statement_that_is_interrupted_leaves_the_pool_whole(wired: tuple[Database, Wire]) -> None:
    database, _ = wired
    for _ in range(2 * CONNECTIONS):
        statement = asyncio.create_task(database.fetchval("SELECT pg_sleep(30)"))
        await asyncio.sleep(0)
        while not statement.done():
            statement.cancel()
            await asyncio.wait({statement}, timeout=1)
    assert await asyncio.gather(*(database.fetchval("SELECT 1") for _ in range(CONNECTIONS))) == [1] * CONNECTIONS


@pytest.mark.parametrize("sqlstate", ["58030", "58P01", "XX000", "XX001", "55P03", "53100", "57P03", "40P01"])
async def test_what_is_no_statements_fault_counts_as_away(wired: tuple[Database, Wire], sqlstate: str) -> None:
    database, _ = wired
    with pytest.raises(UnavailableError):
        await database.execute(f"DO $$ BEGIN RAISE EXCEPTION 'its own fault' USING ERRCODE = '{sqlstate}'; END $$")


async def test_a_statements_own_fault_stays_what_it_is(wired: tuple[Database, Wire]) -> None:
    with pytest.raises(asyncpg.DataError):
        await wired[0].execute("SELECT 1 / 0")
