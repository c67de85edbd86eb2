"""Build and drop the indexes of tables that are in use, one at a time, while their readers and writers go on.

The rest of a schema is applied in one transaction, which must be short. An index takes a minute per some million rows.
"""

import asyncio
import re
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger(__name__)

LOCK_TIMEOUT = 60.0
"""Seconds to wait for transactions that began before. Nobody waits behind us meanwhile."""
BUILD_TIMEOUT = 7200.0
"""Seconds for one index."""

_STATEMENT = re.compile(r"^CREATE INDEX IF NOT EXISTS (\w+) ON (\w+)\b[^;]*;\n", re.MULTILINE)
_DROP = re.compile(r"^DROP INDEX IF EXISTS (\w+);\n", re.MULTILINE)
_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)"
_INDEXES = (
    "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE {condition}"
)


async def split(connection: "asyncpg.Connection[asyncpg.Record]", script: str) -> tuple[str, dict[str, str]]:
    """Return the script without what `change` is to do, and that: index and statement, what is dropped last.

    These are the indexes that tables lack which are there, and those that are there and no longer wanted.
    """
    tables = {row[0] for row in await connection.fetch(_TABLES)}
    there = {row[0] for row in await connection.fetch(_INDEXES.format(condition="indisvalid"))}
    later = {
        f"{found[2]}.{found[1]}": found[0]
        for found in _STATEMENT.finditer(script)
        if found[2] in tables and found[1] not in there
    }
    later |= {found[1]: found[0] for found in _DROP.finditer(script) if found[1] in there}
    for statement in later.values():
        script = script.replace(statement, "")
    return script, later


async def change(connection: "asyncpg.Connection[asyncpg.Record]", name: str, statement: str) -> None:
    """Build or drop one index. What an interrupted build left is dropped first.

    Raises LockNotAvailableError when an older transaction does not end, QueryCanceledError when it takes too long.
    """
    index = name.rpartition(".")[2]
    await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}s'; SET statement_timeout = '{BUILD_TIMEOUT}s'")
    try:
        if index in {row[0] for row in await connection.fetch(_INDEXES.format(condition="NOT indisvalid"))}:
            await connection.execute(f"DROP INDEX CONCURRENTLY {index}", timeout=BUILD_TIMEOUT)
        # One process builds, however many the server would start: those who read and write keep the other cores.
        await connection.execute("SET max_parallel_maintenance_workers = 0")
        log.info("schema.index", index=index)
        concurrently = statement.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
        await connection.execute(concurrently, timeout=BUILD_TIMEOUT)
    finally:
        async with asyncio.timeout(5):
            await connection.execute("SET lock_timeout = 0; SET statement_timeout = 0")
