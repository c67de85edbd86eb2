"""The embedded stack with meters: the consumer's CPU, its SQL statements and its AWS calls."""

import asyncio
import contextlib
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import aiohttp
import asyncpg

from deploy.local import ports, services, tokens
from deploy.local.announcement import Announcement
from deploy.local.api_client import ApiClient
from deploy.local.child import Program
from deploy.local.source_file import SourceFile
from deploy.local.stack import Stack, running
from deploy.local.state import State
from media.settings import Settings

READY_TIMEOUT = 300.0
"""Seconds for all photos of one run to become ready."""
CHECK_INTERVAL = 0.02
"""Seconds between two checks whether they are ready."""
PHOTO = Announcement("image", "image/jpeg")
_TICK = os.sysconf("SC_CLK_TCK")
_STATEMENT = re.compile(r"^(media-\w+) LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Meter:
    """Totals at one moment: CPU seconds, statements by program, AWS calls by operation."""

    cpu: float
    statements: Mapping[str, Counter[str]]
    calls: Counter[str]

    def since(self, before: "Meter") -> "Meter":
        names = self.statements.keys()
        spent = {name: self.statements[name] - before.statements.get(name, Counter()) for name in names}
        return Meter(self.cpu - before.cpu, spent, self.calls - before.calls)


@dataclass(frozen=True, slots=True)
class Bench:
    """A stack under measurement."""

    stack: Stack
    http: aiohttp.ClientSession
    database: asyncpg.Connection
    calls: Path

    async def send(self, photo: Path, announced: Announcement = PHOTO) -> str:
        """Upload a file as a browser does. Return the asset's id after the PUT."""
        token = tokens.mint(self.stack.state.secrets().jwt_secret, user="bench", role="user")
        api = ApiClient(self.http, self.stack.api_url, token)
        with SourceFile(photo) as file:
            ticket = await api.request_upload(photo.name, file.size, announced)
            await api.put(ticket, file)
        return ticket.asset_id

    async def until_ready(self, count: int) -> None:
        """Wait until `count` assets are ready. Raises TimeoutError, and RuntimeError if one was rejected or failed."""
        async with asyncio.timeout(READY_TIMEOUT):
            while True:
                row = await self.database.fetchrow(
                    "SELECT count(*) FILTER (WHERE status = 'ready') AS ready,"
                    " count(*) FILTER (WHERE status IN ('rejected', 'failed')) AS bad FROM assets"
                )
                if row and row["bad"]:
                    raise RuntimeError(f"{row['bad']} photos did not become ready")
                if row and row["ready"] >= count:
                    return
                await asyncio.sleep(CHECK_INTERVAL)

    async def moments(self, asset_id: str) -> dict[str, float]:
        """Return the Unix time of the last timeline entry of each kind."""
        rows = await self.database.fetch(
            "SELECT coalesce(stage, '') || ' ' || code AS what, extract(epoch FROM at)::float8 AS at"
            " FROM timeline WHERE asset_id = $1::uuid ORDER BY id",
            asset_id,
        )
        return {row["what"].strip(): row["at"] for row in rows}

    async def meter(self) -> Meter:
        """Read all meters."""
        pid = self.stack.consumer.child.pid
        self.calls.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR1)
        async with asyncio.timeout(10):
            while not self.calls.exists():  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(CHECK_INTERVAL)
        lines = (line.rsplit(" ", 1) for line in self.calls.read_text(encoding="ascii").splitlines())
        calls = Counter({name: int(count) for name, count in lines})
        return Meter(_cpu(pid), _statements(self.stack.state.logs / "postgres.log"), calls)


@contextlib.asynccontextmanager
async def measured(folder: Path) -> AsyncIterator[Bench]:
    """Start a stack whose Postgres logs every statement and whose consumer counts its AWS calls."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIA_", "AWS_"))}
    calls = folder / "calls"
    environ |= {"MEDIA_API_PORT": str(ports.free_port()), "MEDIA_BENCH_CALLS": str(calls)}
    environ["MEDIA_RECEIVE_WAIT"] = str(Settings.model_fields["receive_wait"].default)  # a laptop's are many requests
    plain = services.service

    def counted(name: str, state: State, env: Mapping[str, str]) -> Program:
        program = plain(name, state, env)
        if name != "consumer":
            return program
        return replace(program, argv=[*program.argv[:-1], "tests.bench.pipeline_consumer"])

    with patch.object(services, "service", counted):
        async with running(folder / "stack", lambda _line: None, environ) as stack, aiohttp.ClientSession() as http:
            database = await asyncpg.connect(stack.owner_dsn, timeout=10)
            try:
                await database.execute("ALTER SYSTEM SET log_statement = 'all'")
                await database.execute("ALTER SYSTEM SET log_line_prefix = '%a '")
                await database.execute("SELECT pg_reload_conf()")
                yield Bench(stack, http, database, calls)
            finally:
                await database.close(timeout=10)


def _cpu(pid: int) -> float:
    """Read the CPU seconds of one process without its children, in which pictures are rendered."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _statements(log: Path) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for program, statement in _STATEMENT.findall(log.read_text(encoding="utf-8", errors="replace")):
        found.setdefault(program, Counter())[" ".join(statement.split())[:90]] += 1
    return found
