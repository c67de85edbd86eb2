"""The connection pool, with a deadline on every statement and one error for "Postgres is down"."""

import asyncio
import time
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
HOPELESS = 600.0
"""Seconds of refused passwords after which only a restart helps, which reads the secret anew. A rotation is shorter."""

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


class Refusals:
    """Opens connections, and remembers since when Postgres refuses the user or the password of new ones."""

    def __init__(self) -> None:
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the first of the refusals that followed each other; 0 when the last attempt was not refused."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    async def connect(self, *args: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection for a pool. Raises as asyncpg does."""
        try:
            opened: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(*args, **options)
        except asyncpg.InvalidAuthorizationSpecificationError:  # 28000, and 28P01, which is a kind of it
            self._since = time.monotonic() if self._since is None else self._since
            raise
        except Exception:
            self._since = None
            raise
        else:
            self._since = None
            return opened


class Database:
    """A pool that connects on demand, so that a daemon can start while Postgres is down.

    Every method raises UnavailableError when Postgres does not answer in time.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", refusals: Refusals | None = None) -> None:
        self._pool = pool
        self._refusals = refusals or Refusals()

    @property
    def needs_restart(self) -> str:
        """Why this process cannot heal, or an empty text: it has the password that it was started with."""
        seconds = self._refusals.seconds
        return f"Postgres has refused our user or password for {seconds:.0f} s" if seconds >= HOPELESS else ""

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
    refusals = Refusals()
    pool = asyncpg.create_pool(
        dsn,
        connect=refusals.connect,
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
        yield Database(pool, refusals)
    finally:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await pool.close()
        except TimeoutError:
            pool.terminate()
