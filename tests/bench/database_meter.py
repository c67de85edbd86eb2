"""Runs a statement of the stores, rolls it back, and counts what it cost by a custom and by a generic plan."""

import ast
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import asyncpg

from media.asset_store.database import Database

ROOT = Path(__file__).parents[2]
SENDERS = {"fetch", "fetchrow", "fetchval", "execute"}
"""Methods of Database that send a statement."""
MODES = {"custom": "force_custom_plan", "generic": "force_generic_plan"}
_BLOCKS = """
SELECT coalesce(sum(pg_stat_get_xact_blocks_fetched(oid)), 0)::bigint FROM pg_class
WHERE relnamespace IN ('public'::regnamespace, 'pg_toast'::regnamespace)
"""
"""Blocks that this session asked for, in our tables, their indexes and TOAST. Unlike EXPLAIN's, triggers are in it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one statement cost. `scanned` are tables that were read from end to end."""

    blocks: int
    rows: int
    ms: float
    scanned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """The costs of one statement by both kinds of plan."""

    name: str
    custom: Cost
    generic: Cost

    @property
    def blocks(self) -> int:
        return max(self.custom.blocks, self.generic.blocks)


@dataclass(frozen=True, slots=True)
class CallSite:
    """A place in the code that sends a statement."""

    path: str
    first: int
    last: int
    name: str


def call_sites() -> list[CallSite]:
    """Return every place below `media` where a store sends a statement by its Database."""
    found: list[CallSite] = []
    for path in sorted((ROOT / "media").rglob("*.py")):
        for owner in ast.walk(ast.parse(path.read_text())):
            if not isinstance(owner, ast.ClassDef):
                continue
            for method in owner.body:
                sent = [node for node in ast.walk(method) if isinstance(node, ast.Call) and _sends(node)]
                name = f"{owner.name}.{getattr(method, 'name', '')}"
                found += [CallSite(str(path), node.lineno, node.end_lineno or 0, name) for node in sent]
    return found


def _sends(node: ast.Call) -> bool:
    match node.func:
        case ast.Attribute(value=ast.Attribute(attr="_database"), attr=name):
            return name in SENDERS
    return False


@dataclass
class MeasuringDatabase(Database):
    """Stands in for the pool: measures each statement and leaves nothing behind."""

    connection: "asyncpg.Connection[asyncpg.Record]"
    measured: list[Measured] = field(default_factory=list)
    reached: set[CallSite] = field(default_factory=set)
    note: str = ""
    """What tells calls of the same statement apart."""

    def __post_init__(self) -> None:
        self._sites = call_sites()

    async def fetch(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        return await self._measure(statement, values)

    async def fetchrow(self, statement: str, *values: Any) -> asyncpg.Record | None:
        return next(iter(await self._measure(statement, values)), None)

    async def fetchval(self, statement: str, *values: Any) -> Any:
        record = next(iter(await self._measure(statement, values)), None)
        return record and record[0]

    async def execute(self, statement: str, *values: Any) -> str:
        return f"DONE {len(await self._measure(statement, values))}"

    async def _measure(self, statement: str, values: Sequence[Any]) -> list[asyncpg.Record]:
        """Run the statement as it is sent, which warms the caches, then by each kind of plan."""
        site = self._site()
        self.reached.add(site)
        name = site.name + (f" ({self.note})" if self.note else "")
        async with _undone(self.connection):
            records = await self.connection.fetch(statement, *values)
        costs = {mode: await self._explain(setting, statement, values) for mode, setting in MODES.items()}
        self.measured.append(Measured(name, costs["custom"], costs["generic"]))
        return records

    def _site(self) -> CallSite:
        frame: FrameType | None = sys._getframe(1)
        while frame:
            path, line = frame.f_code.co_filename, frame.f_lineno
            for site in self._sites:
                if site.path == path and site.first <= line <= site.last:
                    return site
            frame = frame.f_back
        raise LookupError("a statement that no store sent")

    async def _explain(self, setting: str, statement: str, values: Sequence[Any]) -> Cost:
        arguments = f"({', '.join(map(literal, values))})" if values else ""
        async with _undone(self.connection):
            await self.connection.execute(f"SET LOCAL plan_cache_mode = {setting}; PREPARE measured AS {statement}")
            before = await self.connection.fetchval(_BLOCKS)
            text = await self.connection.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE measured{arguments}"
            )
            blocks = await self.connection.fetchval(_BLOCKS) - before
            await self.connection.execute("DEALLOCATE measured")
        found = json.loads(text)[0]
        nodes = list(_nodes(found["Plan"]))
        scanned = tuple(sorted({node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}))
        return Cost(blocks, int(found["Plan"]["Actual Rows"]), round(found["Execution Time"], 2), scanned)


class _undone:  # noqa: N801 - it reads as what it does
    """A transaction that is rolled back."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._transaction = connection.transaction()

    async def __aenter__(self) -> None:
        await self._transaction.start()

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.rollback()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def literal(value: Any) -> str:
    """Return a value as SQL without a type: the statement's parameter has one."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            parts = ",".join('"' + str(part).replace("\\", "\\\\").replace('"', '\\"') + '"' for part in value)
            return _quoted(f"{{{parts}}}")
        case datetime() | UUID():
            return _quoted(str(value))
        case float():
            return _quoted("Infinity" if value == float("inf") else repr(value))
        case _:
            return _quoted(str(value))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
