"""Each dependency goes away for a while under one daemon: it stays up, asks little, resumes soon, counts nothing."""

import asyncio
import signal
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
from tests.faults.site import Daemon, Site, built
from tests.faults.uploads import JPEG, PDF, PNG, Kind, Upload, all_ended, assert_all_well, send_all
from tests.faults.wires import Fault, HttpWire, Wire

SHORT, LONG = 5.0, 60.0
RESUMES = 10.0
"""Seconds from a dependency's return to the first work that gets done."""
UPLOADS = 12


@pytest.fixture(scope="module")
async def place(
    own_aws: Aws, postgres_server: Postgres, clamd: Scanner, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """One site for all outages."""
    name = f"outages_{uuid4().hex}"
    await postgres_part.create_database(postgres_server, name, template=TEMPLATE)
    dsn, folder = postgres_server.dsn(name), tmp_path_factory.mktemp("outages")
    async with built(own_aws.url, own_aws.client_env, own_aws.topology, dsn, clamd.address, folder, seed=2) as site:
        await site.purge()
        yield site
    await postgres_part.drop_database(postgres_server, name)


@pytest.fixture(scope="module")
async def daemon(place: Site) -> AsyncIterator[Daemon]:
    """One daemon that lives through all of them, and still drains in the end."""
    daemon = place.daemon()
    await daemon.start()
    try:
        yield daemon
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0, daemon.log.read_text()[-3000:]
    finally:
        await daemon.kill()


@pytest.fixture(scope="module")
def everything() -> list[Upload]:
    """All that was uploaded in this module so far."""
    return []


def impose(site: Site, dependency: str, fault: Fault) -> None:
    wires: dict[str, HttpWire | Wire] = {
        "sqs": site.aws.sqs,
        "s3": site.aws.s3,
        "clamd": site.clamd,
        "postgres": site.postgres,
        "mediaconvert": site.mediaconvert_wire,
    }
    wires[dependency].fault = fault


async def last(site: Site, daemon: Daemon, dependency: str, seconds: float) -> Counter[str]:
    """Let an outage last so long, with the daemon alive at every look; how many requests each queue saw meanwhile.

    Receives; of SQS's own outage all: what was at work when it began must be settled and sent too, so twice as many.
    """
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        assert await daemon.get("livez") == 200, "a paused or failing queue is alive"
        await asyncio.sleep(0.25)
    counted = [(queue, operation) for at, queue, operation in site.aws.sqs.times if at >= began]
    return Counter(queue for queue, operation in counted if dependency == "sqs" or operation == "ReceiveMessage")


async def suffer(
    site: Site,
    daemon: Daemon,
    everything: list[Upload],
    dependency: str,
    fault: Fault,
    seconds: float,
    kinds: list[Kind],
) -> list[UUID]:
    """An outage amid uploads: some are at work when it begins, some come while it lasts. Returns their assets."""
    sending = asyncio.create_task(send_all(site, kinds, duplicates=0, late=0))
    await site.until("count(*) > 0 FROM stages WHERE state = 'leased'", deadline=30)
    impose(site, dependency, fault)
    mine = [*await sending, *await send_all(site, kinds, duplicates=0, late=0)]
    everything += mine
    requests = await last(site, daemon, dependency, seconds)
    impose(site, dependency, Fault.NONE)
    back = time.monotonic()
    before = await site.db.fetchval("SELECT count(*) FROM assets WHERE status = 'ready'")
    await site.until("count(*) > $1 FROM assets WHERE status = 'ready'", before, deadline=RESUMES)
    print(f"{dependency} {fault}: resumed after {time.monotonic() - back:.1f} s; requests {dict(requests)}")  # noqa: T201 - the figures are wanted
    paused = {"clamd": ["uploads"], "mediaconvert": ["transcodes"]}.get(dependency, QUEUES)
    allowed = 2 * (seconds + 2) if dependency == "sqs" else seconds + 2
    for queue in paused:
        assert requests[f"local-media-{queue}"] <= allowed, requests
    await all_ended(site, 90)
    await assert_all_well(site, everything)
    return [one.asset_id for one in mine]


async def tries(site: Site, assets: list[UUID]) -> int:
    """The most attempts of any of their stages that counted against the limit."""
    statement = "SELECT max(attempt - forgiven) FROM stages WHERE asset_id = ANY($1)"
    return int(await site.db.fetchval(statement, assets))


OUTAGES = [
    ("sqs", Fault.CUT),
    ("sqs", Fault.THROTTLED),
    ("sqs", Fault.BLACK_HOLE),
    ("s3", Fault.BROKEN),
    ("s3", Fault.BLACK_HOLE),
    ("clamd", Fault.CUT),
    ("clamd", Fault.BLACK_HOLE),
    ("postgres", Fault.CUT),
    ("postgres", Fault.BLACK_HOLE),
]
OTHERS = [("sqs", Fault.BROKEN), ("s3", Fault.CUT), ("s3", Fault.THROTTLED)]
"""Of a kind with others; only in the long runs."""


@pytest.mark.parametrize(("dependency", "fault"), OUTAGES)
async def test_five_seconds_without(
    place: Site, daemon: Daemon, everything: list[Upload], dependency: str, fault: Fault
) -> None:
    mine = await suffer(place, daemon, everything, dependency, fault, SHORT, [PDF] * UPLOADS + [PNG, JPEG] * 2)
    # A scan that was cut short counts, as it must: the file may have been the reason. And a claim whose answer was lost
    # looks like a worker's death.
    assert await tries(place, mine) <= (2 if dependency in {"clamd", "postgres"} else 1)


async def test_five_seconds_without_mediaconvert_hold_up_no_picture(
    place: Site, daemon: Daemon, everything: list[Upload], film: bytes
) -> None:
    video = Kind(AssetType.VIDEO, "video/mp4", "v.mp4", film)
    impose(place, "mediaconvert", Fault.BLACK_HOLE)
    videos = await send_all(place, [video] * 2, duplicates=0, late=0)
    pictures = await send_all(place, [PNG] * 4, duplicates=0, late=0)
    everything += videos + pictures
    ids = [one.asset_id for one in pictures]
    await place.until("count(*) = 4 FROM assets WHERE status = 'ready' AND asset_id = ANY($1)", ids, deadline=60)
    requests = await last(place, daemon, "mediaconvert", SHORT)
    assert requests["local-media-transcodes"] <= SHORT + 2
    impose(place, "mediaconvert", Fault.NONE)
    submitted = "count(*) > 0 FROM stages WHERE stage = 'transcode' AND state <> 'queued' AND job_id IS NOT NULL"
    await place.until(submitted, deadline=RESUMES)
    await all_ended(place, 90)
    await assert_all_well(place, everything)


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("dependency", "fault"), OUTAGES + OTHERS)
async def test_a_minute_without(
    place: Site, daemon: Daemon, everything: list[Upload], dependency: str, fault: Fault
) -> None:
    await suffer(place, daemon, everything, dependency, fault, LONG, [PDF] * UPLOADS + [PNG, JPEG] * 2)
