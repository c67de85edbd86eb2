"""`./run.sh bench database [--assets N] [--json]`: what each statement of the stores costs, and which grow with N.

A database is loaded twice, with N assets and with a tenth of them. Every statement is run on both, by a custom and by a
generic plan, and rolled back. A statement grows when the larger database costs it half as much again.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import asyncpg
import structlog

from deploy.local import postgres
from deploy.local.ports import free_port
from media.schema import apply as schema
from tests.bench.database_calls import call_all
from tests.bench.database_load import Population, load
from tests.bench.database_meter import Measured, MeasuringDatabase, call_sites

GROWTH, SLACK = 1.5, 20
"""A statement grows that costs more than GROWTH times as many blocks, and SLACK more."""
LIMIT = 200
"""Blocks that a statement may cost."""
LIMITS = {
    # Pages of assets, each with its renditions: up to eight blocks an asset.
    "AssetStore.list_page": 400,
    "AssetStore.list_changed": 800,
    "StageStore.renew (30)": 300,
    "AssetStore.get_many": 2500,
    "Recovery.get": 1500,
    "OrphanedOutputs.find_stale": 1000,
    # Rows that are looked up in another table.
    "Operations.stuck": 500,
    "StageMaintenance.find_stalled": 4000,
    "Invalidations.dispatch": 5000,
    # Rows that are written or deleted, with all their indexes and what hangs on them.
    "Outbox.sweep": 2000,
    "Recovery.raise_event_sequences": 500_000,
    "Housekeeping.purge": 12_000,
    "Housekeeping.drop_plans": 4000,
    "Housekeeping.prune_changes": 12_000,
    "Housekeeping.prune_timelines": 25_000,
}
"""Blocks of those that carry more, by the beginning of the name."""


def limit_of(name: str) -> int:
    return next((blocks for beginning, blocks in LIMITS.items() if name.startswith(beginning)), LIMIT)


async def measure(dsn: str, total: int) -> list[Measured]:
    """Load `total` assets into an empty database and send it every statement. Raises LookupError if one is missing."""
    await schema.apply(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        population = Population(total)
        await load(connection, population)
        database = MeasuringDatabase(connection)
        await call_all(database, population)
    finally:
        await connection.close()
    if missing := sorted({site.name for site in set(call_sites()) - database.reached}):
        raise LookupError(f"tests/bench/database_calls.py does not call: {', '.join(missing)}")
    return database.measured


@asynccontextmanager
async def server() -> AsyncIterator[postgres.Postgres]:
    """Run a Postgres of its own, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="media-bench-") as folder:
        started = await postgres.start(Path(folder) / "postgres", free_port(), Path(folder), uuid4().hex)
        try:
            yield started
        finally:
            await started.child.stop()


async def compare(total: int) -> list[tuple[Measured, Measured]]:
    """Measure with a tenth and with all. Return both costs of each statement."""
    found: dict[int, dict[str, Measured]] = {}
    async with server() as running:
        for size in (total // 10, total):
            begun = time.monotonic()
            await postgres.create_database(running, f"bench_{size}")
            measured = await measure(running.dsn(f"bench_{size}"), size)
            found[size] = {one.name: one for one in sorted(measured, key=lambda one: one.blocks)}
            sys.stderr.write(f"{size} assets: {time.monotonic() - begun:.0f} s\n")
            if size != total:
                await postgres.drop_database(running, f"bench_{size}")
    return [(found[total // 10][name], one) for name, one in found[total].items()]


def grows(small: Measured, large: Measured) -> bool:
    return large.blocks > GROWTH * small.blocks and large.blocks > small.blocks + SLACK


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench database", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--assets", type=int, default=300_000, metavar="N")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # sweeps fail on purpose
    found = asyncio.run(compare(options.assets))
    if options.json:
        report = [{"small": asdict(small), "large": asdict(large)} for small, large in found]
        sys.stdout.write(json.dumps(report) + "\n")
        return 0
    sys.stdout.write(f"{'':52}{'a tenth':>9}{'custom':>9}{'generic':>9}{'rows':>7}{'ms':>9}{'generic ms':>11}\n")
    for small, large in sorted(found, key=lambda both: -both[1].blocks):
        costs = f"{large.custom.blocks:9}{large.generic.blocks:9}{large.custom.rows:7}"
        marks = [
            *(["GROWS"] if grows(small, large) else []),
            *([f"above {limit_of(large.name)}"] if large.blocks > limit_of(large.name) else []),
            *(f"reads all of {table}" for table in {*large.custom.scanned, *large.generic.scanned} - {"consumers"}),
        ]
        times = f"{large.custom.ms:9.2f}{large.generic.ms:11.2f}"
        sys.stdout.write(f"{large.name:52}{small.blocks:9}{costs}{times}  {', '.join(marks)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
