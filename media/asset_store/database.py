"""The connection pool, with a deadline on every statement and one error for 'Postgres is away'."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from media.errors import Dependency, UnavailableError

STATEMENT_TIMEOUT = 8.0
"""Seconds for one statement; every one of ours is a few index look-ups. Below the ten in which work must resume."""
RELEASE_TIMEOUT = 1.0
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
    asyncpg.LockNotAvailableError,  # somebody changes the table
    asyncpg.PostgresSystemError,  # its disk
    asyncpg.InternalServerError,  # its own fault, by its own word
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
        return await self._call(lambda connection: connection.fetch(statement, *values))

    async def fetchrow(self, statement: str, *values: Any) -> asyncpg.Record | None:
        return await self._call(lambda connection: connection.fetchrow(statement, *values))

    async def fetchval(self, statement: str, *values: Any) -> Any:
        return await self._call(lambda connection: connection.fetchval(statement, *values))

    async def execute(self, statement: str, *values: Any) -> str:
        return await self._call(lambda connection: connection.execute(statement, *values))

    async def _call[T](self, statement: Callable[["PoolConnectionProxy[asyncpg.Record]"], Awaitable[T]]) -> T:
        """One statement, the wait for a connection included in its time.

        One that is interrupted takes its connection with it: asyncpg would wait, without an end, for Postgres to
        acknowledge the cancellation, which a lost network never does. After one that had no answer in time, no other
        connection is trusted either.
        """
        with postgres_calls():
            try:
                async with asyncio.timeout(STATEMENT_TIMEOUT):
                    connection = await self._pool.acquire()
                    try:
                        return await statement(connection)
                    except asyncio.CancelledError:
                        connection.terminate()
                        raise
                    finally:
                        await self._pool.release(connection, timeout=RELEASE_TIMEOUT)
            except TimeoutError:
                await self._pool.expire_connections()
                raise


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
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await pool.close()
        except TimeoutError:
            pool.terminate()
