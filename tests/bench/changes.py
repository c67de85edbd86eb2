"""`./run.sh bench changes [--clients N] [--rounds N]`: what telling of changes costs, and how soon it is heard.

pgbench updates random assets with fsync, in interleaved rounds: without the trigger, with the table `changes`, and with
a notification beside it, as for listeners of the version before. Twenty feeds listen to the second kind, each for
its part of the owners and for one asset, as an API that some users' streams are connected to.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from functools import partial
from tempfile import NamedTemporaryFile
from unittest.mock import patch
from uuid import UUID

import asyncpg

from deploy.local import postgres
from media.asset_store import database
from media.asset_store.changes import ChangeFeed, Watched
from media.schema import apply as schema
from tests.bench.database import server
from tests.bench.database_load import Population, load

ASSETS = 20_000
LISTENERS = 20
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
KINDS = {
    "no trigger": "ALTER TABLE assets DISABLE TRIGGER assets_notify",
    "changes": "ALTER TABLE assets ENABLE TRIGGER assets_notify; UPDATE change_feed SET quiet_until = 'infinity'",
    "notified": "ALTER TABLE assets ENABLE TRIGGER assets_notify; UPDATE change_feed SET quiet_until = '-infinity'",
}
WRITE = """
\\set n random(1, 5000)
UPDATE assets a SET progress = 50, updated_at = clock_timestamp() FROM numbered WHERE n = :n AND a.asset_id = id;
"""


async def write(dsn: str, clients: int, seconds: int) -> float:
    """Write for so long. Return transactions a second."""
    with NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(WRITE)
        script.flush()
        command = [str(postgres.program("pgbench")), "-n", "-c", str(clients), "-j", "2", "-T", str(seconds)]
        process = await asyncio.create_subprocess_exec(
            *command, "-M", "prepared", "-f", script.name, dsn, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    rates = [float(line.split()[2]) for line in output.decode().splitlines() if line.startswith("tps")]
    if not rates:
        raise RuntimeError(f"pgbench (status {process.returncode}) told: {output.decode()}")
    return rates[0]


async def listen(dsn: str, clients: int, seconds: int) -> list[float]:
    """Write beside LISTENERS feeds. Return the seconds from a change until each feed told of it."""
    heard: list[tuple[float, UUID]] = []
    connection = await asyncpg.connect(dsn)
    asset = await connection.fetchval("SELECT id FROM numbered WHERE n = 5001")
    owners = [row[0] for row in await connection.fetch("SELECT DISTINCT owner_id FROM assets")]
    async with AsyncExitStack() as stack:
        for number in range(LISTENERS):
            pool = await stack.enter_async_context(database.connect(dsn, max_size=1))
            feed = ChangeFeed(
                pool,
                partial(Watched, [asset], owners[number::LISTENERS]),
                lambda asset, _: heard.append((time.time(), asset)),
                lambda _: None,
            )
            awaited = asyncio.Event()
            awaited.set()
            stack.callback(asyncio.create_task(feed.run(awaited)).cancel)
        await asyncio.sleep(1)
        written = asyncio.create_task(write(dsn, clients, seconds))
        lags: list[float] = []
        while not written.done():
            row = await connection.fetchrow(
                "UPDATE assets SET updated_at = clock_timestamp() WHERE asset_id = $1"
                " RETURNING asset_id, extract(epoch FROM updated_at)::float8 AS at",
                asset,
            )
            assert row
            await asyncio.sleep(1.5)
            lags += [at - row["at"] for at, asset in heard if asset == row["asset_id"] and at >= row["at"]]
            heard.clear()
        sys.stdout.write(f"beside {LISTENERS} feeds: {await written:.0f} transactions/s\n")
        await connection.close()
    return lags


async def measure(clients: int, rounds: int, seconds: int) -> None:
    found: dict[str, list[float]] = defaultdict(list)
    with patch.dict(postgres.OPTIONS, DURABLE):
        async with server() as running:
            dsn = running.dsn()
            await schema.apply(dsn)
            connection = await asyncpg.connect(dsn)
            await load(connection, Population(ASSETS))
            await connection.execute(
                "CREATE TABLE numbered AS SELECT row_number() OVER () AS n, asset_id AS id FROM assets;"
                "ALTER TABLE numbered ADD PRIMARY KEY (n); ANALYZE numbered"
            )
            for _ in range(rounds):
                for kind, setup in KINDS.items():
                    await connection.execute(setup)
                    found[kind].append(await write(dsn, clients, seconds))
            await connection.execute(KINDS["changes"])
            lags = await listen(dsn, clients, 4 * seconds)
            await connection.close()
    base = statistics.median(found["no trigger"])
    for kind, tps in found.items():
        median = statistics.median(tps)
        sys.stdout.write(
            f"{kind:12}{median:8.0f} transactions/s {median / base:6.2f}   {' '.join(f'{n:.0f}' for n in tps)}\n"
        )
    sys.stdout.write(
        f"heard after {statistics.median(lags):.2f} s (median), {max(lags):.2f} s at most, {len(lags)} times\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench changes", description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of one round")
    options = parser.parse_args()
    asyncio.run(measure(options.clients, options.rounds, options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
