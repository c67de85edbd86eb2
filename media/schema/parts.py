"""What a database holds of ours, a line for each table, column, constraint, index, trigger and function.

`schema.parts` says so of a database that schema.sql made (`python -m media.schema list >
media/schema/schema.parts`): names and types, no expressions, which each version of Postgres spells in its own way.
A function's body is kept as it was written: by its MD5.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

PARTS = Path(__file__).with_name("schema.parts")

_HELD = """
WITH ours AS (
    SELECT oid, relname FROM pg_class
    WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid)
      AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace))
SELECT format('table %s', relname) FROM ours
UNION ALL
SELECT format('column %s.%s %s%s%s', relname, attname, format_type(atttypid, atttypmod),
              CASE WHEN attnotnull THEN ' not null' END,
              CASE WHEN attidentity <> '' THEN ' identity' WHEN atthasdef THEN ' default' END)
FROM pg_attribute JOIN ours ON ours.oid = attrelid WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT format('constraint %s.%s', relname, conname)
FROM pg_constraint JOIN ours ON ours.oid = conrelid WHERE contype IN ('p', 'u', 'f', 'c') AND convalidated
UNION ALL
SELECT format('index %s.%s', relname, indexrelid::regclass)
FROM pg_index JOIN ours ON ours.oid = indrelid
WHERE indisvalid AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)
UNION ALL
SELECT format('trigger %s.%s', relname, tgname)
FROM pg_trigger JOIN ours ON ours.oid = tgrelid WHERE NOT tgisinternal AND tgenabled <> 'D'
UNION ALL
SELECT format('function %s %s', proname, md5(prosrc))
FROM pg_proc WHERE pg_function_is_visible(oid)
  AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""


async def held(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """What the database holds, in order. An index that is not valid, a switched-off trigger, is not held."""
    return sorted(row[0] for row in await connection.fetch(_HELD))


def expected() -> list[str]:
    """What schema.sql makes."""
    return PARTS.read_text().splitlines()


def missing(wanted: Iterable[str], found: Iterable[str], *, newer: bool = False) -> list[str]:
    """What is wanted and not found; of a table that is not there, the table alone.

    With `newer` tables and columns count, by their names: a newer schema may have changed all else.
    """
    there = {_name(part): part for part in found}
    lacking = [part for part in wanted if (_name(part) not in there if newer else there.get(_name(part)) != part)]
    if newer:
        lacking = [part for part in lacking if part.startswith(("table ", "column "))]
    gone = {part.removeprefix("table ") for part in lacking if part.startswith("table ")}
    told: list[str] = []
    for part in lacking:
        kind, name, *_ = part.split(" ")
        if kind not in {"table", "function"} and name.partition(".")[0] in gone:
            continue
        # Of a column that is another one than it should be, both.
        other = there.get(_name(part))
        told.append(f"{part} (there it is {other.removeprefix(_name(part)).strip()})" if other else part)
    return told


def _name(part: str) -> str:
    """Kind and name, without a column's type."""
    return " ".join(part.split(" ")[:2])
