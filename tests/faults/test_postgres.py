"""Postgres answers, but not as the work needs it: read-only after a failover, locked, full, or about to start."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from consumer.wiring import CONNECTIONS as CONSUMER_POOL
from media.asset_store.database import CONNECTIONS as API_POOL
from tests.conftest import Scanner
from tests.faults.conftest import Aws
from tests.faults.fault_proxies import Fault, refuse
from tests.faults.load_balancer import load_balancer, upload_clients
from tests.faults.postgres_faults import PostgresFaults
from tests.faults.proxied_services import RESUMES, Daemon, ProxiedServices, proxied_services
from tests.faults.sample_uploads import PDF, PNG, assert_consistent, send_all, wait_until_all_ended

SPARE = 2
"""Sessions of a process beyond its pool: the poll for changes, and one that is being replaced."""
UPLOADS = 20
AGAIN = 60.0
"""Seconds for UPLOADS after a failover, on a machine with much else to do."""


@pytest.fixture(scope="module")
async def services(
    own_aws: Aws, own_postgres: PostgresFaults, clamd: Scanner, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProxiedServices]:
    """Share the services among all faults that a running consumer and API see."""
    folder = tmp_path_factory.mktemp("running")
    async with proxied_services(
        own_aws.url, own_aws.client_env, own_aws.topology, own_postgres.dsn, clamd.address, folder, seed=3
    ) as services:
        yield services


@pytest.fixture(scope="module")
async def running(services: ProxiedServices) -> AsyncIterator[tuple[Daemon, Daemon]]:
    """Run one consumer and one API through all faults; in the end the consumer still drains."""
    consumer, api = services.daemon(), services.api(MEDIA_API_DRAIN_DELAY="0")
    try:
        await asyncio.gather(consumer.start(), api.start())
        yield consumer, api
        await consumer.drain()
    finally:
        await asyncio.gather(consumer.kill(), api.kill())


@pytest.fixture
async def consumer(
    own_postgres: PostgresFaults, services: ProxiedServices, running: tuple[Daemon, Daemon]
) -> AsyncIterator[Daemon]:
    await own_postgres.empty()  # else an attempt of another test would count
    await services.purge()
    await own_postgres.end_sessions()  # those that began at the new writer of another test would never be read-only
    await running[0].until_status(200)
    yield running[0]
    services.aws.s3.delay = 0.0


@pytest.fixture
async def api(running: tuple[Daemon, Daemon]) -> Daemon:
    await running[1].until_status(200)
    return running[1]


async def until(condition: Callable[[], Awaitable[bool]], deadline: float) -> None:
    async with asyncio.timeout(deadline):
        while not await condition():  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.05)


async def fill_pool(own_postgres: PostgresFaults, services: ProxiedServices) -> None:
    """Let the consumer use every connection of its pool: a few heal by luck what ten do not."""

    async def is_full() -> bool:
        return await own_postgres.backends("media-consumer") == CONSUMER_POOL

    sent = await send_all(services, [PDF] * 4 * CONSUMER_POOL, duplicates=0)
    async with own_postgres.locked("stages"):
        await until(is_full, 20)
    await wait_until_all_ended(services, 60)
    await assert_consistent(services, sent)


def opened_breakers(daemon: Daemon) -> int:
    return daemon.log.read_text().count("breaker.open")


async def counted_attempts(services: ProxiedServices) -> int:
    return int(await services.db.fetchval("SELECT coalesce(max(attempt - forgiven), 0) FROM stages"))


async def test_after_a_failover_no_upload_waits_for_the_old_writer(
    own_postgres: PostgresFaults, services: ProxiedServices, consumer: Daemon, api: Daemon
) -> None:
    before = opened_breakers(consumer)
    await fill_pool(own_postgres, services)
    async with load_balancer(api) as balancer, upload_clients(balancer) as clients:
        await balancer.check(api)
        await asyncio.gather(*(clients.upload(PDF) for _ in range(UPLOADS)))  # this fills the API's pool
        await own_postgres.promote_another()
        await own_postgres.become_read_only()
        began = time.monotonic()
        try:
            async with asyncio.timeout(AGAIN):
                await asyncio.gather(*(clients.upload(PDF) for _ in range(UPLOADS)))
        finally:
            await own_postgres.heal()
    print(f"{UPLOADS} uploads ready {time.monotonic() - began:.1f} s after the failover")  # noqa: T201 - wanted
    assert not clients.failed
    assert await counted_attempts(services) == 1
    assert opened_breakers(consumer) - before <= 1


async def test_a_writer_that_is_away_for_a_while_makes_all_unready(
    own_postgres: PostgresFaults, services: ProxiedServices, consumer: Daemon, api: Daemon
) -> None:
    before = opened_breakers(consumer)
    await fill_pool(own_postgres, services)
    services.aws.s3.delay = 0.5  # so that the fault finds them at work
    uploads = await send_all(services, [PDF] * UPLOADS, duplicates=0)
    await own_postgres.become_read_only()
    try:
        await asyncio.gather(consumer.until_status(503), api.until_status(503))
        assert await consumer.get("livez") == 200
        await asyncio.sleep(2)
        await own_postgres.promote_another()
        back = time.monotonic()
        await asyncio.gather(consumer.until_status(200, RESUMES), api.until_status(200, RESUMES))
        print(f"ready {time.monotonic() - back:.1f} s after the promotion")  # noqa: T201 - wanted
        await wait_until_all_ended(services, 60)
    finally:
        await own_postgres.heal()
    assert await counted_attempts(services) == 1
    assert opened_breakers(consumer) - before <= 2
    assert not any((await services.depths("-dlq")).values())
    assert len(uploads) == UPLOADS


async def test_a_locked_table_leaves_no_sessions_behind(
    own_postgres: PostgresFaults, services: ProxiedServices, consumer: Daemon, api: Daemon
) -> None:
    most = {"media-consumer": 0, "media-api": 0}
    services.aws.s3.delay = 0.5  # so that the lock finds them at work
    uploads = await send_all(services, [PDF] * UPLOADS + [PNG] * 2, duplicates=0)
    async with own_postgres.locked():
        await asyncio.gather(consumer.until_status(503), api.until_status(503))
        began = time.monotonic()
        while time.monotonic() - began < 20:
            for name, before in most.items():
                most[name] = max(before, await own_postgres.backends(name))
            assert await consumer.get("livez") == 200
            await asyncio.sleep(0.2)
    back = time.monotonic()
    await asyncio.gather(consumer.until_status(200, RESUMES), api.until_status(200, RESUMES))
    await wait_until_all_ended(services, 60)
    print(f"at most {most} sessions; all ready {time.monotonic() - back:.1f} s after the lock")  # noqa: T201 - wanted
    assert most["media-consumer"] <= CONSUMER_POOL + SPARE
    assert most["media-api"] <= API_POOL + SPARE
    assert await counted_attempts(services) == 1
    assert len(uploads) == UPLOADS + 2


async def test_a_full_server_costs_no_attempt(
    own_postgres: PostgresFaults, services: ProxiedServices, consumer: Daemon, api: Daemon
) -> None:
    services.aws.s3.delay = 0.5  # so that the fault finds them at work
    uploads = await send_all(services, [PDF] * UPLOADS, duplicates=0)
    async with own_postgres.full():
        await asyncio.gather(consumer.until_status(503), api.until_status(503))
        await asyncio.sleep(1)
        assert await consumer.get("livez") == 200
    await asyncio.gather(consumer.until_status(200, RESUMES), api.until_status(200, RESUMES))
    await wait_until_all_ended(services, 60)
    await assert_consistent(services, uploads)
    assert await counted_attempts(services) <= 2, "a claim whose answer was cut off counts"


async def test_a_start_waits_for_a_server_that_starts_ends_or_is_full(failing_services: ProxiedServices) -> None:
    proxy = failing_services.postgres
    proxy.answer, proxy.fault = refuse("57P03"), Fault.ANSWERS
    daemons = [failing_services.daemon(), failing_services.api(MEDIA_API_DRAIN_DELAY="0")]
    starts = [asyncio.create_task(daemon.start()) for daemon in daemons]
    try:
        for sqlstate in ("57P03", "57P01", "53300"):
            proxy.answer = refuse(sqlstate)
            for daemon in daemons:
                await until(lambda log=daemon.log, why=sqlstate: asyncio.to_thread(waits, log, why), 20)  # type: ignore[misc]
        proxy.fault = Fault.NONE
        await asyncio.gather(*starts)
        for daemon in daemons:
            await daemon.until_status(200)
    finally:
        await asyncio.gather(*(daemon.kill() for daemon in daemons))


def waits(log: Path, sqlstate: str) -> bool:
    """Tell whether a process waits because a server refused it with this SQLSTATE."""
    lines = log.read_text().splitlines() if log.exists() else []
    return any("schema.waiting" in line and sqlstate in line for line in lines)


@pytest.mark.parametrize("wrong", ["password", "database"])
async def test_a_wrong_password_or_database_is_a_configuration_error_at_once(
    failing_services: ProxiedServices, wrong: str
) -> None:
    dsn = failing_services.env["MEDIA_DATABASE_URL"]
    dsn = dsn.replace("made%20up", "another") if wrong == "password" else dsn.replace("/faults", "/none")
    daemon = failing_services.daemon(MEDIA_DATABASE_URL=dsn)
    with pytest.raises(AssertionError, match="it ended"):
        await daemon.start()
    assert await daemon.ended() == 2
    assert "schema.waiting" not in daemon.log.read_text()
    assert wrong in daemon.log.read_text()


async def test_a_consumer_starts_without_postgres_and_says_that_it_is_not_ready(
    failing_services: ProxiedServices,
) -> None:
    failing_services.postgres.fault = Fault.CUT
    daemon = failing_services.daemon(MEDIA_DATABASE_WAIT="1")
    try:
        await daemon.start()
        await daemon.until_status(503)
        failing_services.postgres.fault = Fault.NONE
        await daemon.until_status(200, RESUMES)
    finally:
        await daemon.kill()
