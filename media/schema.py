"""Applies schema.sql, whole and re-appliable, and tells whether a database has the schema that this code knows.

`python -m media.schema apply` and `python -m media.schema check` take the database from `MEDIA_DATABASE_URL`.
"""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg

SCHEMA = Path(__file__).resolve().parents[1] / "schema.sql"
VERSION = 1
"""The version that this code reads and writes; schema.sql records it."""
_LOCK = 0x0D0CF119
"""Key of the advisory lock under which a schema is applied."""


class SchemaError(Exception):
    """The database's schema is not the one that this code knows."""


async def apply(dsn: str) -> None:
    """Bring the database up to schema.sql, in one transaction, one process at a time."""
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=60)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '10s'")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(SCHEMA.read_text())
    finally:
        await connection.close(timeout=5)


async def check(dsn: str) -> None:
    """Raise SchemaError unless the newest version recorded in the database is the one that this code knows.

    Also when the database refuses to be read; OSError when it cannot be reached.
    """
    try:
        found = await _recorded_version(dsn)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SchemaError(f"the database cannot be read: {type(error).__name__}: {error}") from error
    if found != VERSION:
        raise SchemaError(
            f"the database has schema {found or 'none'}, this code needs {VERSION}: run `python -m media.schema apply`",
        )


async def _recorded_version(dsn: str) -> int | None:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    try:
        found: int | None = await connection.fetchval("SELECT max(version) FROM schema_version")
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close(timeout=5)
    return found


def main(arguments: list[str]) -> int:
    """Exit status 0 done, 1 the schema is another one, 2 wrong usage."""
    dsn = os.environ.get("MEDIA_DATABASE_URL", "").replace("postgresql+asyncpg://", "postgresql://", 1)
    if arguments not in (["apply"], ["check"]) or not dsn:
        sys.stderr.write("usage: MEDIA_DATABASE_URL=postgresql://… python -m media.schema apply|check\n")
        return 2
    try:
        asyncio.run(apply(dsn) if arguments == ["apply"] else check(dsn))
    except SchemaError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
