"""The connection pool, with a deadline on every statement and one error for "Postgres is down"."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from media.errors import Dependency, UnavailableError

STATEMENT_TIMEOUT = 8.0
"""Seconds for one statement, each of which is a few index look-ups. Below the ten within which work must resume."""
RELEASE_TIMEOUT = 1.0
"""Seconds to give a connection back to the pool."""
CONNECT_TIMEOUT = 5.0
"""Seconds to open a connection, and to close the pool."""

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
    asyncpg.InternalServerError,  # a fault that Postgres reports of itself
)


@contextmanager
def postgres_calls() -> Iterator[None]:
    """Turn every sign that Postgres is down into UnavailableError. Errors in a statement stay what they are."""
    try:
        yield
    except asyncpg.InternalClientError:
        raise
    except _AWAY as error:
        raise UnavailableError(Dependency.POSTGRES, f"{type(error).__name__}: {error}") from error


class _Connection(asyncpg.Connection):
    """A connection that is not reset after use.

    `Database` runs single statements that leave nothing behind in the session. A reset after each of them would double
    the number of statements.
    """

    def get_reset_query(self) -> str:
        return ""


class Database:
    """A pool that connects on demand, so that a daemon can start while Postgres is down.

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
        """Run one statement. STATEMENT_TIMEOUT includes the wait for a connection."""
        with postgres_calls():
            try:
                async with asyncio.timeout(STATEMENT_TIMEOUT):
                    connection = await self._pool.acquire()
                    try:
                        return await statement(connection)
                    except asyncio.CancelledError:
                        # asyncpg would wait without end for Postgres to acknowledge the cancellation, which never
                        # happens on a lost network.
                        connection.terminate()
                        raise
                    finally:
                        await self._pool.release(connection, timeout=RELEASE_TIMEOUT)
            except TimeoutError:
                # The other connections probably lead nowhere either.
                await self._pool.expire_connections()
                raise


@asynccontextmanager
async def connect(dsn: str, *, max_size: int = 10, application: str = "media") -> AsyncIterator[Database]:
    """Open a pool of at most `max_size` connections. At the end it is closed, or cut after CONNECT_TIMEOUT."""
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
