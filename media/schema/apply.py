"""Apply schema.sql, as often as needed, and check whether a database has the schema that this code knows.

`python -m media.schema apply|check|ensure|list` take the database from `MEDIA_DATABASE_URL`. A task runs `ensure`
before its service starts: it applies the schema where the database is older or lacks something, and changes nothing
where this code can work with it. `list` writes what the database holds.
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute

from media.asset_store.database import is_pooled, open_connection, postgres_calls
from media.errors import UnavailableError
from media.schema import deadlines, indexes, roles
from media.schema.parts import expected, held, missing

log = structlog.get_logger(__name__)

SCHEMA = Path(__file__).resolve().parents[2] / "schema.sql"
VERSION = 7
"""The version that this code reads and writes; schema.sql records it."""
_LOCK = 0x0D0CF119
"""Key of the advisory lock under which a schema is applied."""
LOCK_TIMEOUT = 0.5
"""Seconds that a change waits for a table. Later statements queue behind it, so it gives up soon and tries again."""
ATTEMPTS = 60
"""Tries before an operator must find out who holds the tables."""
PAUSE = 0.5
"""Seconds between two tries, for readers and writers to pass."""

LOCK_WAIT = 60.0
"""Seconds to wait for another process that applies a schema: as long as its own tries may take."""


class SchemaError(Exception):
    """This code does not know the database's schema, or cannot upgrade it."""


class OlderSchemaError(SchemaError):
    """The database has no schema, an older one, or ours in part. Applying ours repairs it, or names what it cannot."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The schema that a database records. `oldest_code` is the oldest version of this code that works with it."""

    version: int
    oldest_code: int = 1
    digest: str | None = None


async def apply(dsn: str, script: Path = SCHEMA) -> bool:
    """Bring the database up to `script`, one process at a time. False when nothing had to change.

    Readers and writers go on meanwhile: all but the indexes comes in one short transaction, then each index of a table
    that is in use is built beside them. What is interrupted goes on with the next call. The role that is connected gets
    the deadlines of its sessions. Raises SchemaError when the database is newer than this code, when its tables are
    held for too long, or when it would still lack something.
    """
    text = await asyncio.to_thread(script.read_text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    async with _changing(dsn) as connection:
        found = await _recorded(connection)
        if found and found.version > VERSION:
            raise SchemaError(f"the database has schema {found.version}, this code is older: {VERSION}")
        written = await _write_deadlines(connection)
        if found and found.digest == digest and not missing(expected(), await held(connection)):
            await _grant(connection)
            return written
        now, later = await indexes.split(connection, text)
        await _apply_with_retries(connection, now, [f"index {name}" for name in later])
        for name, statement in later.items():
            try:
                await indexes.change(connection, name, statement)
            except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError) as error:
                raise SchemaError(
                    f"the index {name} could not be changed beside what is running ({error}): see pg_stat_activity for"
                    " transactions that do not end; the service goes on, and applying again goes on from here"
                ) from error
        await connection.execute(
            "UPDATE schema_version SET digest = $1 WHERE version = (SELECT max(version) FROM schema_version)", digest
        )
    return True


async def ensure(dsn: str) -> bool:
    """Bring an older database up to this code. Changes no table where this code can work with it. True when changed.

    So a rollback starts beside a newer schema, and a restart of older code does not undo later changes.
    Raises SchemaError and UnavailableError as `apply` and `check` do.
    """
    try:
        lacking = await check(dsn)
    except OlderSchemaError:
        return await apply(dsn)
    if not lacking:
        return False
    async with _changing(dsn) as connection:
        return await _write_deadlines(connection)


@asynccontextmanager
async def _changing(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Connect without deadlines, and hold off other processes that change the schema. Raises SchemaError."""
    with _failures():
        connection = await asyncpg.connect(
            dsn,
            timeout=10,
            command_timeout=60,
            target_session_attrs=SessionAttribute.read_write,
            statement_cache_size=0,
        )
    try:
        if await is_pooled(connection):
            raise SchemaError("a pooler stands before the database: a schema is applied by Postgres' own address")
        await connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        await connection.execute("SET lock_timeout = 0")
        try:
            # The lock ends with the connection.
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK, timeout=LOCK_WAIT)
        except TimeoutError as error:
            raise SchemaError(
                f"another process has been applying a schema for {LOCK_WAIT:.0f} s: see pg_locks (locktype 'advisory')"
                " for who it is; nothing was changed, try again when it is done"
            ) from error
        yield connection
    finally:
        await connection.close(timeout=5)


async def _write_deadlines(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Write the deadlines of this role's sessions. Returns whether any was; without the right to it only warns."""
    try:
        return bool(await deadlines.write(connection))
    except asyncpg.PostgresError as error:
        log.warning("schema.deadlines_not_written", error=f"{type(error).__name__}: {error}")
        return False


async def _grant(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    owns = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'assets'::regclass"
    if not await connection.fetchval(owns):  # Postgres would only warn that it granted nothing
        raise _not_the_owner("it does not own the tables")
    await roles.grant(connection)


def _not_the_owner(reason: object) -> SchemaError:
    return SchemaError(
        f"this role may not change the schema ({reason}): run `python -m media.schema apply` as its owner first"
    )


async def _apply_with_retries(connection: "asyncpg.Connection[asyncpg.Record]", text: str, later: list[str]) -> None:
    """Apply the script in one transaction. Raises SchemaError when the tables stay locked.

    Of what the database is to hold, the parts `later` may still be missing.
    """
    for _ in range(ATTEMPTS):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
                await connection.execute(text)
                if lacking := missing(set(expected()).difference(later), await held(connection)):
                    # Rolls the transaction back.
                    raise SchemaError(
                        f"schema.sql does not bring back: {'; '.join(lacking)}. Most columns and constraints it makes"
                        " only with their table: restore them from a backup or, where what was in them may be lost, add"
                        " them by hand as they stand there. Nothing was changed"
                    )
                await _grant(connection)  # in the same transaction: the triggers write to new tables
        except asyncpg.InsufficientPrivilegeError as error:
            raise _not_the_owner(error) from error
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(PAUSE)
        else:
            return
    raise SchemaError(f"the tables were held for all of {ATTEMPTS} tries: see pg_stat_activity for who holds them")


async def check(dsn: str) -> list[str]:
    """Raise SchemaError unless the database has the schema that this code knows, or a newer one that allows it.

    Compares every part, because the recorded schema may have been applied in part, or lost parts since. Returns the
    deadlines that this role's sessions lack. Raises SchemaError also when the database refuses to be read, such as for
    a wrong password; UnavailableError while it is away, starts, or is full.
    """
    found, parts, lacking_deadlines = await _read(dsn)
    if found is None or found.version < VERSION:
        has = found.version if found else "none"
        raise OlderSchemaError(
            f"the database has schema {has}, this code needs {VERSION}: run `python -m media.schema apply`"
        )
    if found.oldest_code > VERSION:
        raise SchemaError(
            f"the database has schema {found.version}, which needs code of version {found.oldest_code} or later;"
            f" this is {VERSION}"
        )
    newer = found.version > VERSION
    if lacking := missing(expected(), parts, newer=newer):
        kind, who = (SchemaError, "with the code of that schema, ") if newer else (OlderSchemaError, "")
        raise kind(
            f"the database says that it has schema {found.version}, and lacks of it: {'; '.join(lacking)}. {who}run"
            " `python -m media.schema apply`: it brings back what it can, and says what it cannot"
        )
    return lacking_deadlines


async def _read(dsn: str) -> tuple[Recorded | None, list[str], list[str]]:
    """Return the recorded schema, the parts that the database holds, and the deadlines that the session lacks."""
    with _failures():
        connection = await open_connection(dsn, application="media-schema")
        try:
            return await _recorded(connection), await held(connection), await deadlines.missing(connection)
        finally:
            await connection.close(timeout=5)


@contextmanager
def _failures() -> Iterator[None]:
    """Turn a database that is away, starting or full into UnavailableError, and one that refuses into SchemaError."""
    try:
        with postgres_calls():
            yield
    except UnavailableError as error:
        # At work these are an outage; before it they are most often a wrong setting.
        if isinstance(error.__cause__, _REFUSALS):
            raise SchemaError(f"the database cannot be read: {error.detail}") from error
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SchemaError(f"the database cannot be read: {type(error).__name__}: {error}") from error


_REFUSALS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)


async def show(dsn: str) -> None:
    """Write what the database holds to standard output, in the form of `schema.parts`. Raises as `check` does."""
    _, parts, _ = await _read(dsn)
    sys.stdout.write("".join(f"{part}\n" for part in parts))


async def _recorded(connection: "asyncpg.Connection[asyncpg.Record]") -> Recorded | None:
    try:
        # As JSON, because a column that does not exist yet is then no error.
        text = await connection.fetchval("SELECT to_json(v) FROM schema_version v ORDER BY version DESC LIMIT 1")
    except asyncpg.UndefinedTableError:
        return None
    if text is None:
        return None
    row = json.loads(text)
    return Recorded(row["version"], row.get("oldest_code", 1), row.get("digest"))
