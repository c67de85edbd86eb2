"""The schema's command gives the role deadlines that the server keeps itself, and a start says which are missing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from media.asset_store.database import STATEMENT_TIMEOUT
from media.schema import __main__ as schema_main
from media.schema import apply as schema
from media.schema.deadlines import DEADLINES, missing, write
from media.schema.startup import check_at_start
from tests.conftest import TEMPLATE
from tests.faults.fault_proxies import Fault, refuse, tcp_proxy


@pytest.fixture
async def dsn(postgres_server: Postgres) -> AsyncIterator[str]:
    """A database with the schema, whose sessions have no deadlines: they do not come with a template."""
    name = f"deadlines_{uuid4().hex}"
    await postgres_part.create_database(postgres_server, name, template=TEMPLATE)
    yield postgres_server.dsn(name)
    await postgres_part.drop_database(postgres_server, name)


@asynccontextmanager
async def session(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        connection.terminate()


async def lacking(dsn: str) -> list[str]:
    async with session(dsn) as connection:
        return await missing(connection)


@pytest.mark.parametrize("command", [schema.apply, schema.ensure], ids=["apply", "ensure"])
async def test_the_command_writes_what_is_missing_once(dsn: str, command: Callable[[str], Awaitable[bool]]) -> None:
    assert await lacking(dsn) == sorted(DEADLINES)
    assert await command(dsn) is True
    assert await lacking(dsn) == []
    assert await command(dsn) is False


async def test_a_limit_that_somebody_set_stays(dsn: str) -> None:
    async with session(dsn) as connection:
        name = dsn.rpartition("/")[2]
        await connection.execute(f"ALTER DATABASE {name} SET statement_timeout = '1min'")
    await schema.apply(dsn)
    async with session(dsn) as connection:
        assert await connection.fetchval("SHOW statement_timeout") == "1min"
        assert await connection.fetchval("SHOW lock_timeout") == "5s"


async def test_other_roles_get_theirs(dsn: str) -> None:
    role = f"role_{uuid4().hex}"
    async with session(dsn) as connection:
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        try:
            assert len(await write(connection, [role])) == len(DEADLINES)
            assert await write(connection, [role]) == []
            assert await lacking(f"postgresql://{role}:x@{dsn.rpartition('@')[2]}") == []
        finally:
            await connection.execute(f"DROP ROLE {role}")


async def test_a_start_names_what_is_missing_and_goes_on(dsn: str) -> None:
    with capture_logs() as logs:
        await check_at_start(dsn, wait=0)
    assert [(line["event"], line["missing"]) for line in logs] == [("schema.no_deadlines", sorted(DEADLINES))]
    await schema.apply(dsn)
    async with session(dsn) as connection:  # those that a pooler keeps are from before, until it is told to RECONNECT
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with capture_logs() as logs:
        await check_at_start(dsn, wait=0)
    assert not logs


async def test_the_command_waits_for_a_server_that_starts(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = urlsplit(dsn)
    async with tcp_proxy(lambda: asyncio.open_connection(parts.hostname, parts.port)) as (proxy, port):
        monkeypatch.setenv("MEDIA_DATABASE_URL", dsn.replace(f":{parts.port}/", f":{port}/"))
        proxy.answer, proxy.fault = refuse("57P03"), Fault.ANSWERS
        command = asyncio.create_task(asyncio.to_thread(schema_main.main, ["ensure"]))
        async with asyncio.timeout(20):
            while proxy.connections < 3:  # noqa: ASYNC110 - it is in another thread
                await asyncio.sleep(0.02)
            assert not command.done()
            proxy.fault = Fault.NONE
            assert await command == 0
    assert await lacking(dsn) == []


async def test_an_apply_that_takes_long_is_not_ended_by_the_deadlines(dsn: str) -> None:
    """The role's own sessions have them; the command's does not."""
    await schema.apply(dsn)
    async with session(dsn) as connection:
        name = dsn.rpartition("/")[2]
        user = await connection.fetchval("SELECT current_user")
        await connection.execute(f"ALTER ROLE {user} IN DATABASE {name} SET statement_timeout = '200ms'")
        await connection.execute("SELECT pg_advisory_lock($1)", schema._LOCK)
        waiting = asyncio.create_task(schema.apply(dsn))
        waits = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(10):
            while not await connection.fetchval(waits):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.02)
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("SELECT pg_sleep(0.4)")
        assert not waiting.done()
        await connection.execute("SELECT pg_advisory_unlock($1)", schema._LOCK)
        assert await waiting is False


async def test_the_server_ends_a_statement_whose_client_is_gone(dsn: str) -> None:
    await schema.apply(dsn)
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gone' AND state = 'active'"
    async with session(dsn) as observer:
        client = await asyncpg.connect(dsn, server_settings={"application_name": "gone"})
        waiting = asyncio.create_task(client.fetchval("SELECT pg_sleep(60)"))
        async with asyncio.timeout(10):
            while await observer.fetchval(sessions) != 1:  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.02)
        client.terminate()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(STATEMENT_TIMEOUT):  # long before statement_timeout
            while await observer.fetchval(sessions):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.1)


def test_the_server_waits_longer_than_its_clients() -> None:
    assert DEADLINES["statement_timeout"] > STATEMENT_TIMEOUT * 1000 > DEADLINES["lock_timeout"]
