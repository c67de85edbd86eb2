"""A release under load: the schema is applied, then every API and every consumer is replaced, one by one."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from media.schema import apply as schema
from tests.faults.load_balancer import (
    LoadBalancer,
    UploadClients,
    load_balancer,
    replace_api,
    replace_consumer,
    stop,
    upload_clients,
    wait_until_ready,
)
from tests.faults.proxied_services import Daemon, ProxiedServices
from tests.faults.sample_uploads import Kind, assert_consistent, mixed_kinds, wait_until_all_ended

PARALLEL = 8
MOST = 20
"""Times the requested uploads, at most, while the release goes on."""
DRAIN = {"MEDIA_API_DRAIN_DELAY": "2"}
NEXT = f"""
ALTER TABLE assets ADD COLUMN IF NOT EXISTS note text NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS assets_by_note ON assets (note);
INSERT INTO schema_version (version, oldest_code) VALUES ({schema.VERSION + 1}, {schema.VERSION});
"""  # noqa: S608 - numbers of ours
"""A schema change of the next release, which today's code can work with."""


async def release(
    services: ProxiedServices, balancer: LoadBalancer, clients: UploadClients, daemons: list[Daemon], each: int
) -> None:
    """Begin each step when `each` more uploads have ended, so that all steps happen under load."""

    def new(made: Daemon) -> Daemon:
        daemons.append(made)
        return made

    script = services.logs / "next.sql"
    await asyncio.to_thread(script.write_text, await asyncio.to_thread(schema.SCHEMA.read_text) + NEXT)
    consumers = [daemon for daemon in daemons if daemon.module == "consumer"]
    await clients.until(each)
    assert await schema.apply(services.dsn, script)
    for turn, consumer in enumerate(consumers, start=1):
        await clients.until(2 * turn * each)
        await replace_api(balancer, new(services.api(**DRAIN)))
        await clients.until((2 * turn + 1) * each)
        await replace_consumer(consumer, new(services.daemon()))


async def upload_until(clients: UploadClients, kinds: Iterator[Kind], least: int, released: asyncio.Event) -> None:
    """Upload until there were enough uploads and the release is over."""
    while (len(clients.uploads) < least or not released.is_set()) and len(clients.uploads) < MOST * least:
        await clients.upload(next(kinds))


async def roll(services: ProxiedServices, film: bytes, count: int) -> UploadClients:
    daemons = [services.api(**DRAIN), services.api(**DRAIN), services.daemon(), services.daemon()]
    apis = daemons[:2]
    released = asyncio.Event()
    kinds = mixed_kinds(services.chance, count, pictures=0.5, videos=max(2, count // 50), film=film)
    kinds = services.chance.sample(kinds, len(kinds))
    try:
        await asyncio.gather(*(daemon.start() for daemon in daemons))
        await asyncio.gather(*map(wait_until_ready, daemons))
        async with load_balancer(*apis) as balancer, upload_clients(balancer) as clients:
            await asyncio.gather(*map(balancer.check, apis))
            async with asyncio.TaskGroup() as group:
                for _ in range(PARALLEL):
                    group.create_task(upload_until(clients, itertools.cycle(kinds), count, released))
                await release(services, balancer, clients, daemons, count // 6)
                released.set()
        await wait_until_all_ended(services, 60)
        for daemon in daemons[4:]:
            await stop(daemon)
    finally:
        await asyncio.gather(*(daemon.kill() for daemon in daemons))
    return clients


async def assert_nothing_failed(services: ProxiedServices, clients: UploadClients) -> None:
    assert not clients.failed
    assert await services.db.fetchval("SELECT count(*) FROM assets") == len(clients.uploads)
    await assert_consistent(services, clients.uploads)


@pytest.mark.timeout(300)
async def test_no_request_fails_during_a_release(services: ProxiedServices, film: bytes) -> None:
    clients = await roll(services, film, 90)
    print(f"{len(clients.uploads)} uploads, {clients.requests} requests, none failed")  # noqa: T201 - wanted
    await assert_nothing_failed(services, clients)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_no_request_fails_during_a_release_under_long_load(services: ProxiedServices, film: bytes) -> None:
    await assert_nothing_failed(services, await roll(services, film, 2000))
