"""Each dependency is away for a while: the daemon stays up, polls little, resumes soon, and counts no attempt."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from media.asset import AssetType
from media.settings import QUEUES
from tests.conftest import TEMPLATE, Scanner
from tests.faults.conftest import Aws
from tests.faults.fault_proxies import Fault, HttpFaults, TcpProxy, http_answer
from tests.faults.proxied_services import NOTICES, RESUMES, Daemon, ProxiedServices, proxied_services
from tests.faults.sample_uploads import JPEG, PDF, PNG, Kind, Upload, assert_consistent, send_all, wait_until_all_ended

SHORT, LONG = 5.0, 60.0
UPLOADS = 12


@pytest.fixture(scope="module")
async def services(
    own_aws: Aws, postgres_server: Postgres, clamd: Scanner, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProxiedServices]:
    """Share the services among all outages."""
    name = f"outages_{uuid4().hex}"
    await postgres_part.create_database(postgres_server, name, template=TEMPLATE)
    dsn, folder = postgres_server.dsn(name), tmp_path_factory.mktemp("outages")
    async with proxied_services(
        own_aws.url, own_aws.client_env, own_aws.topology, dsn, clamd.address, folder, seed=2
    ) as services:
        await services.purge()
        yield services
    await postgres_part.drop_database(postgres_server, name)


@pytest.fixture(scope="module")
async def daemon(services: ProxiedServices) -> AsyncIterator[Daemon]:
    """Run one daemon through all outages; in the end it still drains."""
    daemon = services.daemon()
    await daemon.start()
    try:
        yield daemon
        await daemon.drain()
    finally:
        await daemon.kill()


@pytest.fixture(scope="module")
def all_uploads() -> list[Upload]:
    """Collect all that was uploaded in this module so far."""
    return []


def set_fault(services: ProxiedServices, dependency: str, fault: Fault) -> None:
    fault_proxies: dict[str, HttpFaults | TcpProxy] = {
        "sqs": services.aws.sqs,
        "s3": services.aws.s3,
        "clamd": services.clamd,
        "postgres": services.postgres,
        "mediaconvert": services.mediaconvert_proxy,
    }
    fault_proxies[dependency].fault = fault


async def watch_outage(services: ProxiedServices, daemon: Daemon, dependency: str, seconds: float) -> Counter[str]:
    """Let an outage last, checking that the daemon is alive; count the requests for each queue meanwhile.

    Receives are counted; in an outage of SQS all requests, as what ran when it began must be settled and sent too.
    """
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        assert await daemon.get("livez") == 200, "a paused or failing queue is alive"
        await asyncio.sleep(0.25)
    counted = [(queue, operation) for at, queue, operation in services.aws.sqs.times if at >= began]
    return Counter(queue for queue, operation in counted if dependency == "sqs" or operation == "ReceiveMessage")


async def run_outage(
    services: ProxiedServices,
    daemon: Daemon,
    all_uploads: list[Upload],
    dependency: str,
    fault: Fault,
    seconds: float,
    kinds: list[Kind],
) -> list[UUID]:
    """Run an outage amid uploads, some before it begins and some while it lasts; return their assets."""
    sending = asyncio.create_task(send_all(services, kinds, duplicates=0, late=0))
    await services.until("count(*) > 0 FROM stages WHERE state = 'leased'", deadline=30)
    set_fault(services, dependency, fault)
    own_assets = [*await sending, *await send_all(services, kinds, duplicates=0, late=0)]
    all_uploads += own_assets
    try:
        requests = await watch_outage(services, daemon, dependency, seconds)
        if seconds >= NOTICES:  # a short one ends before
            assert await daemon.get("readyz") == 503, "it tells the truth about itself"
    finally:
        set_fault(services, dependency, Fault.NONE)
    back = time.monotonic()
    before = await services.db.fetchval("SELECT count(*) FROM assets WHERE status = 'ready'")
    await services.until("count(*) > $1 FROM assets WHERE status = 'ready'", before, deadline=RESUMES)
    print(f"{dependency} {fault}: resumed after {time.monotonic() - back:.1f} s; requests {dict(requests)}")  # noqa: T201 - the figures are wanted
    paused = {"clamd": ["uploads"], "mediaconvert": ["transcodes"]}.get(dependency, QUEUES)
    # Without SQS, each asset's request for the next stage is sent once in vain, beside the receives.
    allowed = 2 * (seconds + 2) + len(own_assets) if dependency == "sqs" else seconds + 2
    for queue in paused:
        assert requests[f"local-media-{queue}"] <= allowed, requests
    await wait_until_all_ended(services, 90)
    await assert_consistent(services, all_uploads)
    return [one.asset_id for one in own_assets]


async def counted_attempts(services: ProxiedServices, assets: list[UUID]) -> int:
    """Return the most attempts of one of their stages that count against the limit."""
    statement = "SELECT max(attempt - forgiven) FROM stages WHERE asset_id = ANY($1)"
    return int(await services.db.fetchval(statement, assets))


OUTAGES = [
    ("sqs", Fault.CUT),
    ("sqs", Fault.THROTTLED),
    ("s3", Fault.BLACK_HOLE),
    ("s3", Fault.REFUSED),
    ("clamd", Fault.CUT),
    ("clamd", Fault.BLACK_HOLE),
    ("postgres", Fault.CUT),
    ("postgres", Fault.BLACK_HOLE),
]
OTHERS = [
    ("sqs", Fault.BROKEN),
    ("sqs", Fault.REFUSED),
    ("sqs", Fault.ANSWERS),
    ("sqs", Fault.BLACK_HOLE),
    ("s3", Fault.BROKEN),
    ("s3", Fault.CUT),
    ("s3", Fault.THROTTLED),
    ("s3", Fault.ANSWERS),
]
"""Similar to others; only in the long runs."""


async def test_idle_daemon_tells_what_is_away(services: ProxiedServices, daemon: Daemon) -> None:
    """Each is asked on its own, so all may be away at once: no message comes that would notice one."""
    away = {"s3", "clamd", "postgres", "mediaconvert"}
    status, told = None, ""
    await daemon.until_status(200, RESUMES)
    for dependency in away:
        set_fault(services, dependency, Fault.CUT)
    try:
        async with asyncio.timeout(RESUMES):
            while {one for one in away if f"{one} is unavailable" in told} != away:
                status, told = await daemon.read("readyz")
                await asyncio.sleep(0.1)
        assert (status, "sqs" in told) == (503, False), told
        assert await daemon.get("livez") == 200
    finally:
        for dependency in away:
            set_fault(services, dependency, Fault.NONE)
    await daemon.until_status(200, RESUMES)


async def test_refusals_of_mediaconvert_cost_no_attempt(
    services: ProxiedServices, daemon: Daemon, all_uploads: list[Upload], film: bytes
) -> None:
    video = Kind(AssetType.VIDEO, "video/mp4", "v.mp4", film)
    expired = b'{"message": "The security token included in the request is expired"}'
    services.mediaconvert_proxy.answer = http_answer("403 Forbidden", "application/json", expired)
    set_fault(services, "mediaconvert", Fault.ANSWERS)
    try:
        videos = await send_all(services, [video] * 3, duplicates=0, late=0)
        all_uploads += videos
        await services.until("count(*) > 0 FROM stages WHERE stage = 'transcode' AND forgiven > 0", deadline=30)
        await daemon.until_status(503, RESUMES)
    finally:
        set_fault(services, "mediaconvert", Fault.NONE)
    await wait_until_all_ended(services, 90)
    await assert_consistent(services, all_uploads)
    assert await counted_attempts(services, [one.asset_id for one in videos]) == 1


@pytest.mark.parametrize(
    ("dependency", "fault"), [*OUTAGES, *(pytest.param(*one, marks=pytest.mark.soak) for one in OTHERS)]
)
async def test_the_daemon_resumes_after_an_outage_of_five_seconds(
    services: ProxiedServices, daemon: Daemon, all_uploads: list[Upload], dependency: str, fault: Fault
) -> None:
    own_assets = await run_outage(
        services, daemon, all_uploads, dependency, fault, SHORT, [PDF] * UPLOADS + [PNG, JPEG] * 2
    )
    # A scan that was cut short counts, as it must: the file may have been the reason. And a claim whose answer was lost
    # looks like a worker's death.
    assert await counted_attempts(services, own_assets) <= (2 if dependency in {"clamd", "postgres"} else 1)


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_twenty_uploads_outlast_half_a_minute_of_refusals_by_s3(
    services: ProxiedServices, daemon: Daemon, all_uploads: list[Upload]
) -> None:
    own_assets = await run_outage(services, daemon, all_uploads, "s3", Fault.REFUSED, 30.0, [PDF] * 6 + [PNG, JPEG] * 2)
    statement = "SELECT count(*) FROM assets WHERE status = 'ready' AND asset_id = ANY($1)"
    ready = await services.db.fetchval(statement, own_assets)
    print(f"S3 said 403 for 30 s: {ready} of {len(own_assets)} uploads ready")  # noqa: T201 - the figures are wanted
    assert ready == len(own_assets) == 20
    assert await counted_attempts(services, own_assets) == 1


async def test_an_outage_of_mediaconvert_does_not_delay_images(
    services: ProxiedServices, daemon: Daemon, all_uploads: list[Upload], film: bytes
) -> None:
    video = Kind(AssetType.VIDEO, "video/mp4", "v.mp4", film)
    set_fault(services, "mediaconvert", Fault.BLACK_HOLE)
    videos = await send_all(services, [video] * 2, duplicates=0, late=0)
    pictures = await send_all(services, [PNG] * 4, duplicates=0, late=0)
    all_uploads += videos + pictures
    ids = [one.asset_id for one in pictures]
    await services.until("count(*) = 4 FROM assets WHERE status = 'ready' AND asset_id = ANY($1)", ids, deadline=60)
    requests = await watch_outage(services, daemon, "mediaconvert", SHORT)
    assert requests["local-media-transcodes"] <= SHORT + 2
    set_fault(services, "mediaconvert", Fault.NONE)
    submitted = "count(*) > 0 FROM stages WHERE stage = 'transcode' AND state <> 'queued' AND job_id IS NOT NULL"
    await services.until(submitted, deadline=RESUMES)
    await wait_until_all_ended(services, 90)
    await assert_consistent(services, all_uploads)


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("dependency", "fault"), OUTAGES + OTHERS)
async def test_the_daemon_resumes_after_an_outage_of_a_minute(
    services: ProxiedServices, daemon: Daemon, all_uploads: list[Upload], dependency: str, fault: Fault
) -> None:
    await run_outage(services, daemon, all_uploads, dependency, fault, LONG, [PDF] * UPLOADS + [PNG, JPEG] * 2)
