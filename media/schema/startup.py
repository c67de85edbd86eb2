"""The check of the database before a service starts, which waits for a Postgres that is starting itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from media.asset_store.database import is_pooled, open_connection, postgres_calls
from media.errors import UnavailableError
from media.schema.apply import check

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds between two tries."""


async def when_available[T](call: Callable[[], Awaitable[T]], *, wait: float) -> T:
    """Repeat `call` while Postgres is away, starts, restarts or is full, for `wait` seconds; then raise its error."""
    deadline, pause = time.monotonic() + wait, FIRST_PAUSE
    while True:
        try:
            return await call()
        except UnavailableError as error:
            left = deadline - time.monotonic()
            if left <= pause:
                raise
            log.warning("schema.waiting", error=error.detail, seconds=round(left))
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def check_at_start(dsn: str, *, wait: float, statement_cache: int = 0) -> None:
    """Check the schema, the sessions' deadlines, and whether there is a pooler.

    Raises SchemaError at once, UnavailableError after `wait` seconds. A service works without the deadlines, so it only
    names those that are missing: a start that is refused would stop the work, and a statement that is given up is
    canceled anyway. Of a pooler it says what that must be, unless the service uses no `statement_cache`.
    """
    if missing := await when_available(lambda: check(dsn), wait=wait):
        log.warning("schema.no_deadlines", missing=missing, text="run `python -m media.schema apply` as this role")

    async def is_behind_pooler() -> bool:
        with postgres_calls():
            connection = await open_connection(dsn)
            try:
                return await is_pooled(connection)
            finally:
                connection.terminate()

    if statement_cache and await when_available(is_behind_pooler, wait=wait):
        text = "set MEDIA_DATABASE_STATEMENT_CACHE=0, unless the pooler keeps prepared statements (PgBouncer from 1.21)"
        log.warning("schema.pooler", text=text)
