"""The connection pool, with a deadline on every statement and one error for "Postgres is down"."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pool import PoolConnectionProxy

from media.asset_store.postgres_errors import UNFORESEEN, SessionFate, classify, is_login_refused
from media.errors import Dependency, FailureKind, UnavailableError

log = structlog.get_logger(__name__)

STATEMENT_TIMEOUT = 8.0
"""Seconds for one statement, each of which is a few index look-ups. Below the ten within which work must resume."""
RELEASE_TIMEOUT = 1.0
"""Seconds to give a connection back to the pool. A statement that was given up must be canceled by then."""
CONNECT_TIMEOUT = 5.0
"""Seconds to open a connection, and to close the pool."""
HOPELESS = 600.0
"""Seconds of refused passwords after which only a restart helps, which reads the secret anew. A rotation is shorter."""
LOGIN_INTERVAL = 60.0
"""Seconds between two logins that are made only to see whether the password still holds."""
CONNECTIONS = 10
"""Most connections of a pool. An API's requests are many short statements at once."""
STATEMENT_CACHE = 100
"""Prepared statements that a connection keeps."""
RETRY_PAUSES = (0.0, 0.05, 0.2)
"""Seconds before each repetition of a statement that failed without having done anything."""

PROBE = """
DO $$ BEGIN
    UPDATE assets SET progress = progress WHERE asset_id = '00000000-0000-0000-0000-000000000000';
    UPDATE stages SET progress = progress WHERE asset_id = '00000000-0000-0000-0000-000000000000';
    INSERT INTO outbox (asset_id, kind, target, body)
    VALUES ('00000000-0000-0000-0000-000000000000', 'probe', '', '{}');
EXCEPTION WHEN foreign_key_violation THEN NULL;
END $$
"""
"""A write that is always rolled back, as no asset has this id.

It needs what the work needs: the writer, rights, room on the disk, and tables that nobody has locked.
"""


@contextmanager
def postgres_calls() -> Iterator[None]:
    """Turn every failure that is not our own mistake into UnavailableError. `postgres_errors` tells them apart."""
    try:
        yield
    except Exception as error:
        failure = classify(error)
        if failure.kind is FailureKind.BUG:
            raise
        if failure is UNFORESEEN:
            log.exception("postgres.unforeseen")
        detail = f"{type(error).__name__}: {error}"
        raise UnavailableError(Dependency.POSTGRES, detail, is_unforeseen=failure is UNFORESEEN) from error


async def open_connection(dsn: str, *, application: str = "media") -> "asyncpg.Connection[asyncpg.Record]":
    """Open a connection of its own to the writer, which prepares no statements by name."""
    return await asyncpg.connect(
        dsn,
        timeout=CONNECT_TIMEOUT,
        command_timeout=STATEMENT_TIMEOUT,
        target_session_attrs=SessionAttribute.read_write,
        server_settings={"application_name": application},
        statement_cache_size=0,
    )


async def is_pooled(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Say whether a pooler stands before Postgres: then another process works for us than the one we connected to."""
    return bool(await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid())


class _Connection(asyncpg.Connection):
    """A connection that is not reset after use.

    `Database` runs single statements that leave nothing behind in the session. A reset after each of them would double
    the number of statements.
    """

    def get_reset_query(self) -> str:
        return ""


class Refusals:
    """Opens connections, and remembers for how long Postgres refuses the user or the password of new ones."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._latest = 0.0

    async def watch(self, dsn: str, **options: Any) -> None:
        """Log in every LOGIN_INTERVAL seconds, until canceled, so that a process without work sees a changed password.

        The pool would not show it, because its open connections go on.
        """
        while True:
            await asyncio.sleep(LOGIN_INTERVAL)
            try:
                opened = await self.connect(dsn, **options)
                await opened.close(timeout=CONNECT_TIMEOUT)
            except Exception as error:  # noqa: BLE001 - whoever asks for work is told; here only the time counts
                log.warning("postgres.no_login", error=f"{type(error).__name__}: {error}")

    @property
    def seconds(self) -> float:
        """Seconds from the first to the latest refusal in a row. Not until now: open connections may go on."""
        return 0.0 if self._since is None else self._latest - self._since

    async def connect(self, *args: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection for a pool. Raises as asyncpg does."""
        try:
            opened: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(*args, **options)
        except Exception as error:
            self._latest = time.monotonic()
            if not is_login_refused(error):
                self._since = None
            elif self._since is None:
                self._since = self._latest
            raise
        else:
            self._since = None
            return opened


class ConnectionQueue:
    """A queue before an asyncpg pool of `size` connections.

    asyncpg lets late comers overtake: who waits finds the connection taken that became free, and waits anew. Beyond
    the pool's capacity most statements are fast then, and a few take a second. Here the longest waiter is next. It gets
    the connection itself, since the way through the pool takes several turns of the event loop, in which Postgres has
    nothing to do.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", size: int) -> None:
        self._pool = pool
        self._free = size
        self._waiters: deque[asyncio.Future[PoolConnectionProxy[asyncpg.Record] | None]] = deque()
        self._reusable: set[PoolConnectionProxy[asyncpg.Record]] = set()

    async def acquire(self) -> "PoolConnectionProxy[asyncpg.Record]":
        """Return a connection that no one else uses until `release`. Raises as asyncpg does."""
        connection = None
        if self._free:
            self._free -= 1
        else:
            waiter: asyncio.Future[PoolConnectionProxy[asyncpg.Record] | None] = asyncio.Future()
            self._waiters.append(waiter)
            try:
                connection = await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():  # it was served in the same turn of the event loop
                    if passed_on := waiter.result():
                        await self.release(passed_on, is_idle=True)
                    else:
                        self._leave()
                raise
        try:
            if connection is not None:
                with suppress(asyncpg.InterfaceError):  # the pool has it back: it was closed while it was passed on
                    if not connection.is_closed():
                        return connection
                self._reusable.discard(connection)
                await self._pool.release(connection, timeout=RELEASE_TIMEOUT)
            connection = await self._pool.acquire()
            self._reusable.add(connection)
        except BaseException:
            self._leave()
            raise
        return connection

    async def release(self, connection: "PoolConnectionProxy[asyncpg.Record]", *, is_idle: bool) -> None:
        """Take a connection back. One whose statement did not come to its end (`is_idle`) is left to the pool.

        Raises as asyncpg does where the connection could not be made ready for others. It is then closed.
        """
        if is_idle and connection in self._reusable and self._serve_next(connection):
            return
        self._reusable.discard(connection)
        try:
            await self._pool.release(connection, timeout=RELEASE_TIMEOUT)
        finally:
            self._leave()

    async def expire(self) -> None:
        """Let no connection that was opened until now be used by further statements."""
        self._reusable.clear()
        await self._pool.expire_connections()

    def _leave(self) -> None:
        if not self._serve_next(None):
            self._free += 1

    def _serve_next(self, connection: "PoolConnectionProxy[asyncpg.Record] | None") -> bool:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():  # else it was canceled
                waiter.set_result(connection)
                return True
        return False


class Database:
    """A pool that connects on demand, so that a daemon can start while Postgres is down.

    Every method raises UnavailableError when Postgres does not answer in time.
    """

    def __init__(self, connections: ConnectionQueue, refusals: Refusals | None = None) -> None:
        self._connections = connections
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

    async def probe(self) -> None:
        """Do what the work does, and leave nothing behind. Raises what the work would."""
        await self.execute(PROBE)

    async def _call[T](self, statement: Callable[["PoolConnectionProxy[asyncpg.Record]"], Awaitable[T]]) -> T:
        """Run one statement, again where nothing was done. STATEMENT_TIMEOUT includes the wait for a connection."""
        with postgres_calls():
            async with asyncio.timeout(STATEMENT_TIMEOUT):
                for pause in RETRY_PAUSES:
                    try:
                        return await self._attempt(statement)
                    except asyncpg.PostgresError as error:
                        if classify(error).kind is not FailureKind.RETRY:
                            raise
                        log.warning("postgres.retry", error=f"{type(error).__name__}: {error}")
                    await asyncio.sleep(pause)
                return await self._attempt(statement)

    async def _attempt[T](self, statement: Callable[["PoolConnectionProxy[asyncpg.Record]"], Awaitable[T]]) -> T:
        """Run one statement on one connection, which goes back to the pool only if it is good for the next one.

        asyncpg asks the server to cancel a statement that is given up. Without that, its backend would wait on, and a
        new connection beside it for each call.
        """
        connection = await self._connections.acquire()
        is_idle = False
        try:
            found = await statement(connection)
            is_idle = True
        except Exception as error:
            fate = classify(error).session
            if fate is SessionFate.EXPIRE:
                log.warning("postgres.expired", error=f"{type(error).__name__}: {error}")
                await self._connections.expire()  # this one is then closed when it is released
            elif fate is SessionFate.DROP:
                connection.terminate()
            raise
        else:
            return found
        finally:
            try:
                await self._connections.release(connection, is_idle=is_idle)
            except Exception as error:  # noqa: BLE001 - asyncpg has dropped it, and the statement's own end counts
                # Not even a cancel request is obeyed. The other connections probably lead nowhere either.
                log.warning("postgres.expired", error=f"no end of a statement: {type(error).__name__}: {error}")
                await self._connections.expire()


@asynccontextmanager
async def connect(
    dsn: str, *, max_size: int = CONNECTIONS, application: str = "media", statement_cache: int = STATEMENT_CACHE
) -> AsyncIterator[Database]:
    """Open a pool of at most `max_size` connections. At the end it is closed, or cut after CONNECT_TIMEOUT.

    A pooler in transaction mode that knows no prepared statements needs a `statement_cache` of 0.
    """
    refusals = Refusals()
    options: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": STATEMENT_TIMEOUT,
        "target_session_attrs": SessionAttribute.read_write,
        "server_settings": {"application_name": application},
        "statement_cache_size": statement_cache,
    }
    pool = asyncpg.create_pool(
        dsn, connect=refusals.connect, connection_class=_Connection, min_size=0, max_size=max_size, **options
    )
    with postgres_calls():
        await pool
    watching = asyncio.create_task(refusals.watch(dsn, **options), name="watch the password")
    try:
        yield Database(ConnectionQueue(pool, max_size), refusals)
    finally:
        watching.cancel()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await pool.close()
        except TimeoutError:
            pool.terminate()
