"""List the tables, columns, constraints, indexes, triggers and functions of a database, a line each.

`schema.parts` is the list of a database that schema.sql made (`python -m media.schema list >
media/schema/schema.parts`). It holds names and types, but no expressions, which each version of Postgres spells in its
own way. A function is compared by the MD5 of its body.
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
    """Return what the database holds, in order, without invalid indexes and disabled triggers."""
    return sorted(row[0] for row in await connection.fetch(_HELD))


def expected() -> list[str]:
    """Return the parts that schema.sql makes."""
    return PARTS.read_text().splitlines()


def missing(wanted: Iterable[str], found: Iterable[str], *, newer: bool = False) -> list[str]:
    """Return the wanted parts that were not found. For a table that is missing, only the table.

    With `newer`, only tables and columns count, by their names: a newer schema may have changed everything else.
    """
    there = {_name(part): part for part in found}
    lacking = [part for part in wanted if (_name(part) not in there if newer else there.get(_name(part)) != part)]
    if newer:
        lacking = [part for part in lacking if part.startswith(("table ", "column "))]
    gone = {part.removeprefix("table ") for part in lacking if part.startswith("table ")}
    report: list[str] = []
    for part in lacking:
        kind, name, *_ = part.split(" ")
        if kind not in {"table", "function"} and name.partition(".")[0] in gone:
            continue
        # A column of another type: both types.
        other = there.get(_name(part))
        report.append(f"{part} (there it is {other.removeprefix(_name(part)).strip()})" if other else part)
    return report


def _name(part: str) -> str:
    """Return a part's kind and name, without a column's type."""
    return " ".join(part.split(" ")[:2])
