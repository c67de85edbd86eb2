"""`./run.sh bench saturation [--clients N …] [--seconds N]`: how many images a second one Postgres can take.

pgbench sends the statements of the stores for image after image, from its creation to ready, each in a transaction of
its own with fsync. Beside it goes what 200 consumers and 20 APIs send however many images there are.
"""

import argparse
import asyncio
import sys
import time
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from unittest.mock import patch
from uuid import UUID

import asyncpg

from deploy.local import postgres
from media.asset import AssetType, DeliveryClass, ObjectVersion, Rendition, Stage, StageState, Status
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.changes import ChangeFeed, Watched
from media.asset_store.database import Database
from media.asset_store.listing import AssetFilter, PageRequest
from media.asset_store.operations import ConsumerStatus, Operations
from media.asset_store.stages import Commit, Facts, Fence, Note, StageStore
from media.events.event_outbox import EventOutbox
from media.outbox import Effect, EffectKind, Outbox, OutboxRow
from media.schema import apply as schema
from tests.bench.api_load import cpu_seconds
from tests.bench.changes import DURABLE
from tests.bench.database import server
from tests.bench.database_load import LIVE, Population, asset_id, load
from tests.bench.database_meter import literal

CONSUMERS, FEEDS = 200, 20
ID, ROW, OWNER, CONSUMER = UUID(int=20), 20, "any-owner", "any-consumer"
"""Values in the statements that stand for other ones in each round: NAMES says which."""
NAMES = {
    literal(ID): "md5(:n::text)::uuid",
    literal(ROW): ":id",
    f"'{{\"{ROW}\"}}'": "ARRAY[:id]",
    literal(OWNER): "('owner-' || :n::bigint % 5000)",
    literal(CONSUMER): "('consumer-' || :n::bigint % 200)",
}
CONNECT_DEADLINE = 120.0
"""Seconds for the clients to connect, and for the first images."""
READY = "SELECT count(*) FROM assets WHERE ready_at > $1"
CLIENTS = (1, 4, 16, 64, 200)
_BUSY = """
SELECT coalesce(wait_event_type || ' ' || wait_event, 'CPU') FROM pg_stat_activity
WHERE state = 'active' AND backend_type = 'client backend' AND application_name = 'pgbench'
"""


class _Sent(Exception):  # noqa: N818 - no error
    """A statement was written down."""


class Script(Database):
    """Stands in for the pool: makes a script of pgbench of what a store sends."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def add(self, call: Awaitable[object], *, yields_row: bool = False) -> None:
        """Add a call. What `yields_row` is one row of the outbox, whose `id` the next statements may name."""
        with suppress(_Sent):
            await call
        self.lines.append("\\gset" if yields_row else ";")

    async def fetch(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        for number in range(len(values), 0, -1):
            text = literal(values[number - 1])
            statement = statement.replace(f"${number}", NAMES.get(text, text))
        lines = (line.partition("--")[0] for line in statement.strip().splitlines())
        self.lines.append("\n".join(line for line in lines if line.strip()))
        raise _Sent

    fetchrow = fetchval = execute = fetch  # type: ignore[assignment] # none returns


async def images() -> str:
    """Return the script of one image: what the API, the events and two stages send until it is ready."""
    script = Script()
    assets, stages, outbox = AssetStore(script), StageStore(script), Outbox(script, {EffectKind.SEND: _nothing})
    send = Effect(EffectKind.SEND, "images", {"asset_id": str(ID)})
    key = f"uploads/image/owner/{ID}/photo.jpg"
    version = ObjectVersion("uploads", key, "version")
    image, public = AssetType.IMAGE, DeliveryClass.PUBLIC
    made = [Rendition(f"w{n}", f"public/image/o/{ID}/image-1/w{n}.webp", "image/webp", n, n, n) for n in range(1, 6)]
    scanned = Commit(
        StageState.DONE, Status.PROCESSING, notes=[Note("clean")], next_stage=Stage.IMAGE, effects=[send],
        facts=Facts(content_type="image/jpeg", size=2_830_000, sha256="0" * 64),
    )  # fmt: skip
    ready = Commit(StageState.DONE, Status.READY, notes=[Note("ready")], renditions=made, facts=Facts(width=10))
    dispatched = [OutboxRow(ROW, ID, send)]
    await script.add(assets.create(NewAsset(ID, OWNER, image, public, "image/jpeg", "photo.jpg", "uploads", key)))
    await script.add(assets.bind(ID, StoredObject(version, "etag", 2_830_000), effects=[send]), yields_row=True)
    await script.add(outbox.dispatch(dispatched))
    script.lines[-2] = script.lines[-2].replace(":id", "(:sent::jsonb ->> 0)")  # the answer of `bind` is one
    await script.add(stages.claim(ID, Stage.SCAN, version_id="version", lease=60))
    await script.add(stages.commit(Fence(ID, Stage.SCAN, 1), scanned), yields_row=True)
    await script.add(outbox.dispatch(dispatched))
    await script.add(stages.claim(ID, Stage.IMAGE, version_id="version", lease=60))
    await script.add(stages.commit(Fence(ID, Stage.IMAGE, 1), ready))
    await script.add(assets.get(ID, owner_id=OWNER))
    return "\n".join(["\\set n random(1, 1000000000000000)", *script.lines])


async def background(population: Population) -> Mapping[str, float]:
    """Return what is sent beside the images: scripts, each with how often a second."""
    live = [n for n in range(population.total - LIVE, population.total) if population.kind(n) == "leased"]
    fences = [Fence(asset_id(n), Stage.IMAGE, 1) for n in live[:10]]
    owners = [f"owner-{n}" for n in range(100)]

    def calls(script: Script) -> Iterator[tuple[Awaitable[object], float]]:
        operations, feed = Operations(script), ChangeFeed(script, lambda: Watched((), owners), _ignore, _ignore)
        yield operations.report(ConsumerStatus(CONSUMER, "working", [], 10)), CONSUMERS / 10
        yield StageStore(script).renew(fences, lease=60), CONSUMERS / 20
        yield EventOutbox(script).take(10), CONSUMERS * 4
        yield feed.poll(), FEEDS * 2  # from the snapshot of the poll before
        yield AssetStore(script).list_page(AssetFilter(owner_id=OWNER), PageRequest()), 20

    script, found = Script(), {}
    for call, rate in calls(script):
        await script.add(call)
        text = "\n".join(["\\set n random(1, 1000000)", *script.lines])
        if "NULL::text::pg_snapshot" in text:
            text = text.replace("NULL::text::pg_snapshot", ":snapshot::text::pg_snapshot").removesuffix(";") + "\\gset"
        found[text] = rate
        script.lines.clear()
    return found


async def _nothing(_: object) -> None:
    """Dispatch nothing: only the statement counts."""


def _ignore(*_: object) -> None:
    """Hear nothing: only the statement counts."""


@asynccontextmanager
async def pgbench(dsn: str, text: str, clients: int, *options: str) -> AsyncIterator[None]:
    """Run a script until the block ends."""
    with NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(text)
        script.flush()
        command = [str(postgres.program("pgbench")), "-n", "-M", "prepared", "-c", str(clients), "-D", "snapshot=1:1:"]
        process = await asyncio.create_subprocess_exec(*command, *options, "-f", script.name, dsn, stdout=DEVNULL)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


@dataclass(frozen=True, slots=True)
class Found:
    """What so many clients reached. `waits` says what the backends that worked waited for, by share."""

    clients: int
    images: float
    commits: float
    fsyncs: float
    wal_kb: float
    """Of one image."""
    cpu_ms: float
    """Of Postgres for one image, with what goes on beside."""
    waits: Counter[str]


_TOTALS = """
SELECT xact_commit, (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal')::float8 AS fsyncs,
    pg_current_wal_lsn() - '0/0'::pg_lsn AS wal, now() AS at FROM pg_stat_database WHERE datname = current_database()
"""


async def measure(running: postgres.Postgres, script: str, clients: int, seconds: int) -> Found:
    """Send images by so many clients. Count for so long, once the first are ready."""
    connection = await asyncpg.connect(running.dsn())
    begun = await connection.fetchval("SELECT now()")
    waits: Counter[str] = Counter()
    async with pgbench(running.dsn(), script, clients, "-j", "2", "-T", "100000"):
        async with asyncio.timeout(CONNECT_DEADLINE):
            while await connection.fetchval(READY, begun) < clients:
                await connection.execute("SELECT pg_sleep(0.1)")
        [before], cpu = await connection.fetch(_TOTALS), cpu_of_children(running.child.pid)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            waits.update(row[0] for row in await connection.fetch(_BUSY))
            await asyncio.sleep(0.1)
        [after], cpu = await connection.fetch(_TOTALS), cpu_of_children(running.child.pid) - cpu
        count = await connection.fetchval(READY, before["at"])
    await connection.close()
    took = (after["at"] - before["at"]).total_seconds()
    return Found(
        clients=clients,
        images=count / took,
        commits=(after["xact_commit"] - before["xact_commit"]) / took,
        fsyncs=(after["fsyncs"] - before["fsyncs"]) / took,
        wal_kb=float(after["wal"] - before["wal"]) / count / 1000,
        cpu_ms=cpu / count * 1000,
        waits=waits,
    )


def cpu_of_children(pid: int) -> float:
    """Return the CPU seconds of the processes that this one started."""
    return sum(map(cpu_seconds, map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())))


async def run(assets: int, numbers: Sequence[int], seconds: int) -> None:
    options = DURABLE | {"shared_buffers": "1GB", "max_connections": "400", "max_wal_size": "8GB"}
    with patch.dict(postgres.OPTIONS, options):
        async with server() as running, AsyncExitStack() as stack:
            dsn = running.dsn()
            await schema.apply(dsn)
            connection = await asyncpg.connect(dsn)
            await load(connection, Population(assets))
            await connection.execute("UPDATE change_feed SET quiet_until = 'infinity'")
            await connection.close()
            script = await images()
            for text, rate in (await background(Population(assets))).items():
                await stack.enter_async_context(pgbench(dsn, text, FEEDS, "-T", "100000", "-R", str(rate)))
            sys.stdout.write(f"{'clients':>7}{'images/s':>10}{'s each':>8}{'commits/s':>11}{'fsyncs/s':>10}")
            sys.stdout.write(f"{'WAL kB':>8}{'CPU ms':>8}  waits for\n")
            for clients in numbers:
                found = await measure(running, script, clients, seconds)
                total = found.waits.total() or 1
                waits = ", ".join(f"{name} {count / total:.0%}" for name, count in found.waits.most_common(4))
                sys.stdout.write(f"{clients:7}{found.images:10.1f}{clients / found.images:8.2f}{found.commits:11.0f}")
                sys.stdout.write(f"{found.fsyncs:10.0f}{found.wal_kb:8.1f}{found.cpu_ms:8.1f}  {waits}\n")
                sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench saturation", description=__doc__)
    parser.add_argument("--assets", type=int, default=20_000, metavar="N", help="that are there before")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, metavar="N")
    parser.add_argument("--seconds", type=int, default=15, help="of one round")
    options = parser.parse_args()
    asyncio.run(run(options.assets, options.clients, options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
