"""Statements wait for a connection in the order in which they came, and no place is lost on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from media.asset_store import database
from media.asset_store.database import ConnectionQueue
from media.errors import UnavailableError
from tests.conftest import Database

FIRST, LATE = 20, 200


@asynccontextmanager
async def queue_of_one(dsn: str) -> AsyncIterator[ConnectionQueue]:
    """Open a pool of one connection, and yield the queue before it."""
    pool = await asyncpg.create_pool(dsn, min_size=0, max_size=1)
    try:
        async with asyncio.timeout(20):
            yield ConnectionQueue(pool, 1)
    finally:
        pool.terminate()


async def test_late_comers_do_not_overtake_who_waits(postgres: Database) -> None:
    order: list[int] = []

    async with database.connect(postgres.dsn, max_size=1) as store:

        async def ask(number: int) -> None:
            await store.fetchval("SELECT 1")
            order.append(number)

        await store.fetchval("SELECT 1")
        asked = [asyncio.create_task(ask(number)) for number in range(FIRST)]
        for number in range(FIRST, LATE):
            await asyncio.sleep(0)  # in every turn of the event loop one more comes
            asked.append(asyncio.create_task(ask(number)))
        await asyncio.gather(*asked)
    assert order == list(range(LATE))


async def test_who_gives_up_when_served_passes_the_connection_on(postgres: Database) -> None:
    async with queue_of_one(postgres.dsn) as queue:
        connection = await queue.acquire()
        served, next_one = asyncio.create_task(queue.acquire()), asyncio.create_task(queue.acquire())
        await asyncio.sleep(0)
        await queue.release(connection, is_idle=True)
        served.cancel()
        with pytest.raises(asyncio.CancelledError):
            await served
        assert await next_one is connection
        await queue.release(connection, is_idle=True)
        await queue.release(await queue.acquire(), is_idle=True)


async def test_who_gives_up_while_waiting_is_passed_over(postgres: Database) -> None:
    async with queue_of_one(postgres.dsn) as queue:
        connection = await queue.acquire()
        gone, next_one = asyncio.create_task(queue.acquire()), asyncio.create_task(queue.acquire())
        await asyncio.sleep(0)
        gone.cancel()
        await queue.release(connection, is_idle=True)
        assert await next_one is connection
        await queue.release(connection, is_idle=True)


@pytest.mark.parametrize("is_expired", [True, False])
async def test_connection_that_may_not_be_used_again_is_not_passed_on(postgres: Database, is_expired: bool) -> None:
    async with queue_of_one(postgres.dsn) as queue:
        connection = await queue.acquire()
        before = await connection.fetchval("SELECT pg_backend_pid()")
        waiting = asyncio.create_task(queue.acquire())
        await asyncio.sleep(0)
        if is_expired:
            await queue.expire()
        else:
            connection.terminate()
        await queue.release(connection, is_idle=True)
        another = await waiting
        assert await another.fetchval("SELECT pg_backend_pid()") != before
        await queue.release(another, is_idle=True)


async def test_nobody_waits_for_connections_that_cannot_be_opened() -> None:
    async with asyncio.timeout(60), database.connect("postgresql://nobody@127.0.0.1:9/none", max_size=1) as store:
        for _ in range(2):
            found = await asyncio.gather(*(store.fetchval("SELECT 1") for _ in range(3)), return_exceptions=True)
            assert all(isinstance(error, UnavailableError) and "ConnectionRefused" in str(error) for error in found)
