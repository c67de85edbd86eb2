"""`./run.sh bench new_index [--assets N]`: what an API's clients feel while the schema command builds indexes.

N assets are loaded. An API is read and written, first in peace, then while `media.schema` adds an index to `assets` and
one to `timeline`. Any answer that is not the expected one ends the benchmark.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from deploy.local.ports import free_port
from media.schema import apply as schema
from tests.bench.api import MEDIA, UPLOAD, environment_of, serving, token
from tests.bench.api_load import Load, get, load, post
from tests.bench.database import server
from tests.bench.database_load import HEAVY_OWNER, Population, asset_id
from tests.bench.database_load import load as fill

INDEXES = """
CREATE INDEX IF NOT EXISTS assets_bench ON assets (content_type, created_at);
CREATE INDEX IF NOT EXISTS timeline_bench ON timeline (code, at);
"""
CONNECTIONS = 4
"""Of each kind of request."""
SECONDS = 20.0
"""Of one round."""


async def measure(dsn: str, population: Population) -> None:
    """Load an API that works on this database, and build the indexes."""
    bearer = token(HEAVY_OWNER)
    one = asset_id(population.newest("image", owner=HEAVY_OWNER))
    requests = {
        "GET /assets/{id}": (get(f"{MEDIA}/assets/{one}", bearer), 200),
        "GET /assets": (get(f"{MEDIA}/assets?status=ready", bearer), 200),
        "POST /upload": (post(f"{MEDIA}/upload", UPLOAD, bearer), 201),
    }
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-new-index-")))
        port = free_port()
        api = await stack.enter_async_context(serving(["api"], environment_of(dsn, port), b"api.serving"))
        script = folder / "schema.sql"
        script.write_text(schema.SCHEMA.read_text() + INDEXES)

        async def turn() -> list[Load]:
            loads = (
                load(
                    f"http://127.0.0.1:{port}",
                    request,
                    status=status,
                    seconds=SECONDS,
                    pid=api.pid,
                    connections_open=CONNECTIONS,
                )
                for request, status in requests.values()
            )
            return await asyncio.gather(*loads)

        before = [await turn() for _ in range(2)]
        begun = time.monotonic()
        building = asyncio.create_task(schema.apply(dsn, script))
        during: list[list[Load]] = []
        while not building.done():
            during.append(await turn())
        await building
        sys.stdout.write(f"{population.total} assets, two indexes built in {time.monotonic() - begun:.0f} s\n")
        sys.stdout.write(
            f"{'':18}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'building':>11}{'p50 ms':>9}{'p99 ms':>9}\n"
        )
        for number, name in enumerate(requests):
            rates = "".join(_figures([turn[number] for turn in turns]) for turns in (before, during))
            sys.stdout.write(f"{name:18}{rates}\n")


def _figures(loads: list[Load]) -> str:
    """Return medians of the rounds, and the 99th percentile of the worst one."""
    names = ("per_second", "p50_ms", "p99_ms")
    medians = (statistics.median(getattr(one, name) for one in loads) for name in names)
    return "{:11.0f}{:9.0f}{:9.0f}{:10.0f}".format(*medians, max(one.p99_ms for one in loads))


async def run(total: int) -> None:
    async with server() as running:
        dsn, population = running.dsn(), Population(total)
        await schema.apply(dsn)
        connection = await asyncpg.connect(dsn)
        await fill(connection, population)
        await connection.close()
        await measure(dsn, population)


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench new_index", description=__doc__)
    parser.add_argument("--assets", type=int, default=300_000, metavar="N")
    asyncio.run(run(parser.parse_args().assets))
    return 0


if __name__ == "__main__":
    sys.exit(main())
