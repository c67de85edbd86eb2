"""The alerts, by a real Prometheus on what is really exported: silent while all is well, and each for its cause."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import aiohttp
import pytest
import yaml  # type: ignore[import-untyped] # ships no types

from deploy.panels import ROWS
from media.asset import AssetType, ObjectVersion, upload_key
from media.asset import DeliveryClass as Audience
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.database import connect
from tests.faults.balancer import Clients, balancing, clients_of
from tests.faults.prometheus import DEPLOYED, Pace, Prometheus, watching
from tests.faults.site import Daemon, Site
from tests.faults.test_drain import visible
from tests.faults.uploads import PDF, PNG, VIRUS, all_ended, send_all
from tests.faults.wires import Fault
from tests.unit.handlers.scan.clamd.fake_clamd import fake_clamd, says

OFTEN = {"MEDIA_RECONCILE_INTERVAL": "0.5"}
"""The gauges' pace, a sixtieth of production's."""
SOBER = Pace(30, {})
FAST = Pace(60, {"> 120 and": "> 5 and", "> 600 and": "> 10 and", "< 600 unless": "< 10 unless"})
"""For what fires. In seconds are two minutes without a receive, ten minutes of backlog, and ten of a short life."""
SLOW = Pace(10, {})
"""For processes that are started again: half an hour must have room for four of them."""
LATE = 31.0
"""Seconds after which an image misses its objective."""
SEEN = (
    "media_dlq_messages",
    "media_backlog_messages",
    "media_messages_processed_total",
    "media_circuit_open",
    "media_poll_last_success_timestamp_seconds",
    "media_scans_total",
    "media_visibility_lost_total",
    "media_outbox_pending",
    "media_oldest_unfinished_asset_seconds",
    "media_event_loop_lag_seconds_bucket",
    "media_http_requests_total",
    "media_asset_ready_seconds_bucket",
    "media_message_dwell_seconds_bucket",
    'media_objective_events_total{slo="image_ready",result="good"} > 0',
    'media_objective_events_total{slo="scan_done",result="good"} > 0',
    'slo:media_bad:ratio1h{slo="image_ready"}',
    'slo:media_bad:ratio1h{slo="scan_done"}',
    "queue:media_failures:ratio15m",
    "media:runbook:info",
    "media_consumer:up:max > 0",
    "media_api:up:max > 0",
    'process_start_time_seconds{job="media-consumer"}',
    'process_start_time_seconds{job="media-api"}',
)
"""What the rules look at. That none fires says something only where these are there."""
NOTHING_WRONG = {
    "Videos ready in their length",
    "Videos: upload to ready, in lengths of the video",
    "Transcoded, seconds of output a second",
    "Assets that were rejected or failed, by code",
    "Tries that failed, by cause",
    "API: answers that are no success",
    "API: refused by a rate limit, and event streams open",
}
"""Panels that may be empty while pictures and documents alone come and nothing fails."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A consumer and an API with a Prometheus that watches them."""

    site: Site
    consumer: Daemon
    api: Daemon
    prometheus: Prometheus

    async def ask_api(self) -> None:
        """One request that needs Postgres."""
        async with self.prometheus.http.get(f"{self.api.url}/readyz") as answer:
            await answer.read()


@asynccontextmanager
async def watch(site: Site, pace: Pace = FAST, **settings: str) -> AsyncIterator[Watch]:
    consumer, api = site.daemon(**OFTEN, **settings), site.api(MEDIA_API_DRAIN_DELAY="0")
    try:
        await asyncio.gather(consumer.start(), api.start())
        async with watching(site.logs, consumer, api, pace) as prometheus:
            yield Watch(site, consumer, api, prometheus)
    finally:
        await asyncio.gather(consumer.kill(), api.kill())


async def use(clients: Clients, ended: asyncio.Event) -> None:
    """Somebody who uploads one thing after the other."""
    while not ended.is_set():
        for kind in (PNG, PDF):
            await clients.upload(kind)


async def passes_promtool(http: aiohttp.ClientSession, daemon: Daemon) -> None:
    """`promtool check metrics` on what is really exported."""
    async with http.get(f"{daemon.url}/metrics") as answer:
        text = await answer.read()
    process = await asyncio.create_subprocess_exec(
        shutil.which("promtool") or "promtool",
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate(text)
    assert process.returncode == 0, said.decode()


async def unanswered(prometheus: Prometheus) -> set[str]:
    """The titles of the dashboard's panels of which some question finds nothing."""
    lines = [panel for row in ROWS for _, panels in row.lines for panel in panels]
    return {
        panel.title
        for panel in lines
        for expression, _ in panel.queries
        if not await prometheus.query(expression.replace("$__range", "1h"))
    }


async def all_is_well_for(site: Site, seconds: float) -> None:
    async with watch(site, SOBER) as seen:
        async with balancing(seen.api) as balancer, clients_of(balancer) as clients:
            await balancer.look(seen.api)
            ended = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(use(clients, ended))
                await site.until("pg_sleep($1) IS NOT NULL", seconds, deadline=seconds + 30)
                ended.set()
            assert not clients.failed
        for name in SEEN:
            assert await seen.prometheus.query(name), name
        assert await unanswered(seen.prometheus) <= NOTHING_WRONG
        assert await seen.prometheus.fired() == set()
        for daemon in (seen.consumer, seen.api):
            await passes_promtool(seen.prometheus.http, daemon)
        print(f"{len(clients.uploads)} uploads, no alert")  # noqa: T201 - wanted


@pytest.mark.timeout(180)
async def test_no_alert_fires_while_all_is_well(site: Site) -> None:
    """Half a minute, which is a quarter of an hour of the rules' time."""
    await all_is_well_for(site, 30)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_no_alert_fires_while_all_is_well_for_hours(site: Site) -> None:
    """Six minutes, which are three hours of the rules' time."""
    await all_is_well_for(site, 360)


FIRED: set[str] = set()
"""By the tests below, for the last of them."""


async def fires(seen: Watch, *names: str, deadline: float = 60.0) -> None:
    await seen.prometheus.until_fired(*names, deadline=deadline)
    FIRED.update(names)


@pytest.mark.soak
async def test_messages_that_nobody_can_read(site: Site) -> None:
    await site.send("uploads", {"not": "an upload"})
    async with watch(site) as first:
        async with asyncio.timeout(30):
            while not (await site.depths("-dlq"))["uploads"]:  # noqa: ASYNC110 - it is in the emulator
                await asyncio.sleep(0.1)
        del first
    async with watch(site) as seen:  # the depths are read at the start, then every two minutes
        await fires(seen, "MediaDeadLetters")


@pytest.mark.soak
async def test_infected_files(site: Site) -> None:
    async with watch(site) as seen:
        await send_all(site, [VIRUS] * 30, duplicates=0)
        await fires(seen, "MediaInfectedSurge")


@pytest.mark.soak
async def test_an_asset_without_end(site: Site) -> None:
    asset_id = uuid4()
    key = upload_key(AssetType.DOCUMENT, "dr-house", asset_id, "x.pdf")
    async with watch(site) as seen, connect(site.dsn) as database:
        store = AssetStore(database)
        new = NewAsset(asset_id, "dr-house", AssetType.DOCUMENT, Audience.COURSE_PDF, "application/pdf", "x", "b", key)
        await store.create(new)
        await store.bind(asset_id, StoredObject(ObjectVersion("b", key, "v"), etag="e", size=1))
        await site.db.execute("UPDATE assets SET created_at = now() - interval '7 hours'")
        await fires(seen, "MediaAssetStuck")


@pytest.mark.soak
async def test_messages_taken_from_us(site: Site) -> None:
    site.clamd.fault = Fault.BLACK_HOLE
    await send_all(site, [PDF] * 12, duplicates=0)
    async with watch(site) as seen:
        await site.until("count(*) >= 8 FROM stages WHERE state = 'leased'")
        seen.consumer.signal(signal.SIGSTOP)
        async with asyncio.timeout(30):
            while await visible(site) < 12:  # noqa: ASYNC110 - it is in the emulator
                await asyncio.sleep(0.1)
        seen.consumer.signal(signal.SIGCONT)
        await fires(seen, "MediaMessagesLost")


@pytest.mark.soak
async def test_more_work_than_is_done(site: Site) -> None:
    await send_all(site, [PDF] * 250, duplicates=0)
    site.aws.s3.delay = 0.1
    async with watch(site, MEDIA_CONCURRENCY="1", MEDIA_PREFETCH="0") as seen:
        await fires(seen, "MediaBacklog")
    await site.purge()


@pytest.mark.soak
async def test_the_scanner_is_away_until_images_are_late(site: Site) -> None:
    site.clamd.fault = Fault.CUT
    await send_all(site, [PNG] * 30, duplicates=0)
    async with watch(site) as seen:
        await fires(seen, "MediaDependencyDown", "MediaStandstill")
        await site.until(f"min(now() - uploaded_at) > interval '{LATE} seconds' FROM assets")
        site.clamd.fault = Fault.NONE
        await fires(seen, "MediaSloBurnsFast", "MediaSloBurnsSlowly", deadline=90)
        await all_ended(site, 60)


@pytest.mark.soak
async def test_a_scanner_with_old_signatures_that_gives_no_verdicts(site: Site) -> None:
    reply = says(b"stream: Can't allocate memory ERROR\0")
    async with fake_clamd(reply, version="ClamAV 1.4.6/27500/Sun Nov 2 08:00:00 2025") as scanner:
        await send_all(site, [PDF] * 30, duplicates=0)
        address = f"tcp://{scanner.address.host}:{scanner.address.port}"
        async with watch(site, MEDIA_CLAMD=address, MEDIA_MAX_ATTEMPTS="15") as seen:
            await fires(seen, "MediaScannerErrors", "MediaFailureRatio", "MediaScannerDatabaseOld", deadline=120)


@pytest.mark.soak
async def test_sqs_is_away_and_then_postgres(site: Site) -> None:
    async with watch(site) as seen:
        site.clamd.fault = Fault.BLACK_HOLE
        [made] = await send_all(site, [PNG], duplicates=0)
        await site.until("count(*) = 1 FROM stages WHERE state = 'leased'")
        site.aws.sqs.fault = Fault.BROKEN
        site.clamd.fault = Fault.NONE
        await site.db.execute(
            "INSERT INTO outbox (asset_id, kind, target, body) VALUES ($1, 'send', 'images', '{}')", made.asset_id
        )
        await fires(seen, "MediaPollStuck", "MediaOutboxStuck")
        site.postgres.fault = Fault.CUT

        async def asking() -> None:
            while True:
                await seen.ask_api()

        asking_on = asyncio.create_task(asking())
        await fires(seen, "MediaApiErrors")
        asking_on.cancel()
        site.postgres.fault = site.aws.sqs.fault = Fault.NONE


@pytest.mark.soak
async def test_a_loop_that_is_held_up_and_services_that_are_gone(site: Site) -> None:
    async with watch(site) as seen:

        async def holding_up() -> None:
            while True:
                seen.consumer.signal(signal.SIGSTOP)
                await asyncio.sleep(0.9)
                seen.consumer.signal(signal.SIGCONT)
                await asyncio.sleep(0.4)

        held_up = asyncio.create_task(holding_up())
        await fires(seen, "MediaLoopLag")
        held_up.cancel()
        seen.consumer.signal(signal.SIGCONT)
        await asyncio.gather(seen.consumer.kill(), seen.api.kill())
        await fires(seen, "MediaConsumerDown", "MediaApiDown")


@pytest.mark.soak
async def test_a_consumer_that_dies_again_and_again(site: Site) -> None:
    async with watch(site, SLOW) as seen:
        for _ in range(4):
            await seen.consumer.kill()
            await seen.prometheus.until('up{job="media-consumer"} == 0')
            await seen.consumer.start()
            await seen.prometheus.until('up{job="media-consumer"} == 1')
        await fires(seen, "MediaRestarts")


@pytest.mark.soak
def test_every_alert_has_fired() -> None:
    """Of those above; alone it has nothing to look at."""
    groups = yaml.safe_load((DEPLOYED / "alerts.yaml").read_text())["groups"]
    every = {rule["alert"] for group in groups for rule in group["rules"]}
    if not FIRED:
        pytest.skip("the tests that make alerts fire did not run")
    assert every == FIRED
