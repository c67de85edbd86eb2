"""The connection pool, with a deadline on every statement and one error for 'Postgres is away'."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from media.errors import Dependency, UnavailableError

STATEMENT_TIMEOUT = 10.0
"""Seconds for one statement; every one of ours is a few index look-ups."""
CONNECT_TIMEOUT = 5.0

_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a password that is being rotated
    asyncpg.ReadOnlySQLTransactionError,  # the old primary, after a failover
    asyncpg.TransactionRollbackError,  # a deadlock: nothing was written
)


@contextmanager
def postgres_calls() -> Iterator[None]:
    """Turn every sign that Postgres is away into UnavailableError; errors in a statement stay what they are."""
    try:
        yield
    except asyncpg.InternalClientError:
        raise
    except _AWAY as error:
        raise UnavailableError(Dependency.POSTGRES, f"{type(error).__name__}: {error}") from error


class _Connection(asyncpg.Connection):
    """Through `Database` goes one statement at a time, which leaves nothing behind in its session.

    asyncpg's reset, after every one of them, would be as many statements again.
    """

    def get_reset_query(self) -> str:
        return ""


class Database:
    """A pool that connects when it is needed, so that a daemon can start while Postgres is away.

    Every method raises UnavailableError when Postgres does not answer in time.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def fetch(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        with postgres_calls():
            return await self._pool.fetch(statement, *values, timeout=STATEMENT_TIMEOUT)

    async def fetchrow(self, statement: str, *values: Any) -> asyncpg.Record | None:
        with postgres_calls():
            return await self._pool.fetchrow(statement, *values, timeout=STATEMENT_TIMEOUT)

    async def fetchval(self, statement: str, *values: Any) -> Any:
        with postgres_calls():
            return await self._pool.fetchval(statement, *values, timeout=STATEMENT_TIMEOUT)

    async def execute(self, statement: str, *values: Any) -> str:
        with postgres_calls():
            return await self._pool.execute(statement, *values, timeout=STATEMENT_TIMEOUT)


@asynccontextmanager
async def connect(dsn: str, *, max_size: int = 10, application: str = "media") -> AsyncIterator[Database]:
    """A pool of at most `max_size` connections, closed (or after 5 s cut) at the end."""
    pool = asyncpg.create_pool(
        dsn,
        connection_class=_Connection,
        min_size=0,
        max_size=max_size,
        timeout=CONNECT_TIMEOUT,
        command_timeout=STATEMENT_TIMEOUT,
        server_settings={"application_name": application},
    )
    with postgres_calls():
        await pool
    try:
        yield Database(pool)
    finally:
        await _close(pool)


async def _close(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await pool.close()
    except TimeoutError:
        pool.terminate()
