"""A release under load: the schema first, then every API and every consumer replaced, one by one; nobody notices."""

import asyncio
import itertools
import signal
from collections.abc import Iterator

import pytest

from media.schema import apply as schema
from tests.faults.balancer import Balancer, Clients, balancing, clients_of
from tests.faults.site import Daemon, Site
from tests.faults.uploads import Kind, all_ended, assert_all_well, mixed

PARALLEL = 8
MOST = 20
"""Times the uploads that were asked for, at most, while the release takes its time."""
READY = 30.0
DRAIN = {"MEDIA_API_DRAIN_DELAY": "2"}
NEXT = f"""
ALTER TABLE assets ADD COLUMN IF NOT EXISTS note text NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS assets_by_note ON assets (note);
INSERT INTO schema_version (version, oldest_code) VALUES ({schema.VERSION + 1}, {schema.VERSION});
"""  # noqa: S608 - numbers of ours
"""What the next release may add, saying that the code of today can live with it."""


async def ready(daemon: Daemon) -> None:
    async with asyncio.timeout(READY):
        while await daemon.get("readyz") != 200:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.05)


async def stopped(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended() == 0, daemon.log.read_text()[-4000:]


async def replace_api(balancer: Balancer, new: Daemon) -> None:
    """As ECS does it: the new one gets requests before the old one is asked to go."""
    old = balancer.targets[0]
    await new.start()
    balancer.targets.append(new)
    await ready(new)
    await balancer.look(new)
    await stopped(old)
    balancer.targets.remove(old)


async def replace_consumer(old: Daemon, new: Daemon) -> None:
    await new.start()
    await ready(new)
    await stopped(old)


async def release(site: Site, balancer: Balancer, clients: Clients, daemons: list[Daemon], each: int) -> None:
    """Every step begins when `each` more uploads have ended, so that there is load around all of them."""

    def new(made: Daemon) -> Daemon:
        daemons.append(made)
        return made

    script = site.logs / "next.sql"
    await asyncio.to_thread(script.write_text, await asyncio.to_thread(schema.SCHEMA.read_text) + NEXT)
    consumers = [daemon for daemon in daemons if daemon.module == "consumer"]
    await clients.until(each)
    assert await schema.apply(site.dsn, script)
    for turn, consumer in enumerate(consumers, start=1):
        await clients.until(2 * turn * each)
        await replace_api(balancer, new(site.api(**DRAIN)))
        await clients.until((2 * turn + 1) * each)
        await replace_consumer(consumer, new(site.daemon()))


async def upload_until(clients: Clients, kinds: Iterator[Kind], least: int, released: asyncio.Event) -> None:
    """One person: uploads go on until there were enough of them and the release is through."""
    while (len(clients.uploads) < least or not released.is_set()) and len(clients.uploads) < MOST * least:
        await clients.upload(next(kinds))


async def roll(site: Site, film: bytes, count: int) -> Clients:
    daemons = [site.api(**DRAIN), site.api(**DRAIN), site.daemon(), site.daemon()]
    apis = daemons[:2]
    released = asyncio.Event()
    kinds = mixed(site.chance, count, pictures=0.5, videos=max(2, count // 50), film=film)
    kinds = site.chance.sample(kinds, len(kinds))
    try:
        await asyncio.gather(*(daemon.start() for daemon in daemons))
        await asyncio.gather(*map(ready, daemons))
        async with balancing(*apis) as balancer, clients_of(balancer) as clients:
            await asyncio.gather(*map(balancer.look, apis))
            async with asyncio.TaskGroup() as group:
                for _ in range(PARALLEL):
                    group.create_task(upload_until(clients, itertools.cycle(kinds), count, released))
                await release(site, balancer, clients, daemons, count // 6)
                released.set()
        await all_ended(site, 60)
        for daemon in daemons[4:]:
            await stopped(daemon)
    finally:
        await asyncio.gather(*(daemon.kill() for daemon in daemons))
    return clients


async def assert_nobody_noticed(site: Site, clients: Clients) -> None:
    assert not clients.failed
    assert await site.db.fetchval("SELECT count(*) FROM assets") == len(clients.uploads)
    await assert_all_well(site, clients.uploads)


@pytest.mark.timeout(300)
async def test_a_release_under_load_is_not_noticed(site: Site, film: bytes) -> None:
    clients = await roll(site, film, 200)
    print(f"{len(clients.uploads)} uploads, {clients.requests} requests, none failed")  # noqa: T201 - wanted
    await assert_nobody_noticed(site, clients)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_a_release_under_a_long_load_is_not_noticed(site: Site, film: bytes) -> None:
    await assert_nobody_noticed(site, await roll(site, film, 2000))
