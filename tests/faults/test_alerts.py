"""The alerts, by a real Prometheus on real services: none fires while all is well, and each fires for its cause."""

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
from media.asset import AssetType, DeliveryClass, ObjectVersion, upload_key
from media.asset_store.assets import AssetStore, NewAsset, StoredObject
from media.asset_store.database import connect
from tests.faults.fault_proxies import Fault
from tests.faults.load_balancer import UploadClients, load_balancer, upload_clients
from tests.faults.prometheus import DEPLOYED, Pace, Prometheus, running_prometheus
from tests.faults.proxied_services import Daemon, ProxiedServices
from tests.faults.sample_uploads import PDF, PNG, VIRUS, send_all, wait_until_all_ended
from tests.unit.handlers.scan.clamd.fake_clamd import fake_clamd, says

OFTEN = {"MEDIA_RECONCILE_INTERVAL": "0.5"}
"""A sixtieth of production's interval."""
CALM = Pace(30, {})
FAST = Pace(60, {"> 120 and": "> 5 and", "> 600 and": "> 10 and", "< 600 unless": "< 10 unless"})
"""For alerts that fire. Thresholds in seconds: two minutes without a receive, ten of backlog, ten of a short life."""
SLOW = Pace(10, {})
"""For restarts: four of them must fit into half an hour."""
LATE = 31.0
"""Seconds after which an image misses its objective."""
SERIES = (
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
EMPTY_PANELS = {
    "Videos ready in their duration",
    "Videos: upload to ready, as a multiple of the duration",
    "Transcoded seconds of output per second",
    "Assets that were rejected or failed, by code",
    "Failed attempts, by cause",
    "API: error responses",
    "API: rate-limited requests, and open event streams",
}
"""Panels that may be empty while only pictures and documents are uploaded and nothing fails."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A consumer and an API with a Prometheus that scrapes them."""

    services: ProxiedServices
    consumer: Daemon
    api: Daemon
    prometheus: Prometheus

    async def ask_api(self) -> None:
        """Send one request that needs Postgres."""
        async with self.prometheus.http.get(f"{self.api.url}/readyz") as answer:
            await answer.read()


@asynccontextmanager
async def watch(services: ProxiedServices, pace: Pace = FAST, **settings: str) -> AsyncIterator[Watch]:
    consumer, api = services.daemon(**OFTEN, **settings), services.api(MEDIA_API_DRAIN_DELAY="0")
    try:
        await asyncio.gather(consumer.start(), api.start())
        async with running_prometheus(services.logs, consumer, api, pace) as prometheus:
            yield Watch(services, consumer, api, prometheus)
    finally:
        await asyncio.gather(consumer.kill(), api.kill())


async def upload_until(clients: UploadClients, ended: asyncio.Event) -> None:
    """Upload one file after the other until the event is set."""
    while not ended.is_set():
        for kind in (PNG, PDF):
            await clients.upload(kind)


async def assert_promtool_accepts(http: aiohttp.ClientSession, daemon: Daemon) -> None:
    """Run `promtool check metrics` on what a daemon exports."""
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


async def panels_without_data(prometheus: Prometheus) -> set[str]:
    """Return the titles of the dashboard's panels with a query that finds nothing."""
    lines = [panel for row in ROWS for _, panels in row.lines for panel in panels]
    return {
        panel.title
        for panel in lines
        for expression, _ in panel.queries
        if not await prometheus.query(expression.replace("$__range", "1h"))
    }


async def assert_no_alert_for(services: ProxiedServices, seconds: float) -> None:
    async with watch(services, CALM) as seen:
        async with load_balancer(seen.api) as balancer, upload_clients(balancer) as clients:
            await balancer.check(seen.api)
            ended = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(upload_until(clients, ended))
                await services.until("pg_sleep($1) IS NOT NULL", seconds, deadline=seconds + 30)
                ended.set()
            assert not clients.failed
        for name in SERIES:
            assert await seen.prometheus.query(name), name
        assert await panels_without_data(seen.prometheus) <= EMPTY_PANELS
        assert await seen.prometheus.fired() == set()
        for daemon in (seen.consumer, seen.api):
            await assert_promtool_accepts(seen.prometheus.http, daemon)
        print(f"{len(clients.uploads)} uploads, no alert")  # noqa: T201 - wanted


@pytest.mark.timeout(180)
async def test_no_alert_fires_while_all_is_well(services: ProxiedServices) -> None:
    """Half a minute is a quarter of an hour of the rules' time."""
    await assert_no_alert_for(services, 30)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_no_alert_fires_while_all_is_well_for_hours(services: ProxiedServices) -> None:
    """Six minutes are three hours of the rules' time."""
    await assert_no_alert_for(services, 360)


FIRED: set[str] = set()
"""Alerts that fired in the tests below, for the last of them."""


async def assert_fires(seen: Watch, *names: str, deadline: float = 60.0) -> None:
    await seen.prometheus.until_fired(*names, deadline=deadline)
    FIRED.update(names)


@pytest.mark.soak
async def test_dead_letters_fire_an_alert(services: ProxiedServices) -> None:
    await services.send("uploads", {"not": "an upload"})
    async with watch(services) as first:
        async with asyncio.timeout(30):
            while not (await services.depths("-dlq"))["uploads"]:  # noqa: ASYNC110 - it is in the emulator
                await asyncio.sleep(0.1)
        del first
    async with watch(services) as seen:  # the depths are read at the start, then every two minutes
        await assert_fires(seen, "MediaDeadLetters")


@pytest.mark.soak
async def test_many_infected_files_fire_an_alert(services: ProxiedServices) -> None:
    async with watch(services) as seen:
        await send_all(services, [VIRUS] * 30, duplicates=0)
        await assert_fires(seen, "MediaInfectedSurge")


@pytest.mark.soak
async def test_an_asset_that_never_ends_fires_an_alert(services: ProxiedServices) -> None:
    asset_id = uuid4()
    key = upload_key(AssetType.DOCUMENT, "dr-house", asset_id, "x.pdf")
    async with watch(services) as seen, connect(services.dsn) as database:
        store = AssetStore(database)
        new = NewAsset(
            asset_id, "dr-house", AssetType.DOCUMENT, DeliveryClass.COURSE_PDF, "application/pdf", "x", "b", key
        )
        await store.create(new)
        await store.bind(asset_id, StoredObject(ObjectVersion("b", key, "v"), etag="e", size=1))
        await services.db.execute("UPDATE assets SET created_at = now() - interval '7 hours'")
        await assert_fires(seen, "MediaAssetStuck")


@pytest.mark.soak
async def test_lost_messages_fire_an_alert(services: ProxiedServices) -> None:
    services.clamd.fault = Fault.BLACK_HOLE
    await send_all(services, [PDF] * 12, duplicates=0)
    async with watch(services) as seen:
        await services.until("count(*) >= 8 FROM stages WHERE state = 'leased'")
        seen.consumer.signal(signal.SIGSTOP)
        async with asyncio.timeout(30):
            while await services.visible_uploads() < 12:  # noqa: ASYNC110 - it is in the emulator
                await asyncio.sleep(0.1)
        seen.consumer.signal(signal.SIGCONT)
        await assert_fires(seen, "MediaMessagesLost")


@pytest.mark.soak
async def test_a_growing_backlog_fires_an_alert(services: ProxiedServices) -> None:
    await send_all(services, [PDF] * 250, duplicates=0)
    services.aws.s3.delay = 0.1
    async with watch(services, MEDIA_CONCURRENCY="1", MEDIA_PREFETCH="0") as seen:
        await assert_fires(seen, "MediaBacklog")
    await services.purge()


@pytest.mark.soak
async def test_a_scanner_that_is_away_fires_alerts_and_late_images_do(services: ProxiedServices) -> None:
    services.clamd.fault = Fault.CUT
    await send_all(services, [PNG] * 30, duplicates=0)
    async with watch(services) as seen:
        await assert_fires(seen, "MediaDependencyDown", "MediaStandstill")
        await services.until(f"min(now() - uploaded_at) > interval '{LATE} seconds' FROM assets")
        services.clamd.fault = Fault.NONE
        await assert_fires(seen, "MediaSloBurnsFast", "MediaSloBurnsSlowly", deadline=90)
        await wait_until_all_ended(services, 60)


@pytest.mark.soak
async def test_a_scanner_with_errors_and_old_signatures_fires_alerts(services: ProxiedServices) -> None:
    reply = says(b"stream: Can't allocate memory ERROR\0")
    async with fake_clamd(reply, version="ClamAV 1.4.6/27500/Sun Nov 2 08:00:00 2025") as scanner:
        await send_all(services, [PDF] * 30, duplicates=0)
        address = f"tcp://{scanner.address.host}:{scanner.address.port}"
        async with watch(services, MEDIA_CLAMD=address, MEDIA_MAX_ATTEMPTS="15") as seen:
            await assert_fires(seen, "MediaScannerErrors", "MediaFailureRatio", "MediaScannerDatabaseOld", deadline=120)


@pytest.mark.soak
async def test_outages_of_sqs_and_postgres_fire_alerts(services: ProxiedServices) -> None:
    async with watch(services) as seen:
        services.clamd.fault = Fault.BLACK_HOLE
        [made] = await send_all(services, [PNG], duplicates=0)
        await services.until("count(*) = 1 FROM stages WHERE state = 'leased'")
        services.aws.sqs.fault = Fault.BROKEN
        services.clamd.fault = Fault.NONE
        await services.db.execute(
            "INSERT INTO outbox (asset_id, kind, target, body) VALUES ($1, 'send', 'images', '{}')", made.asset_id
        )
        await assert_fires(seen, "MediaPollStuck", "MediaOutboxStuck")
        services.postgres.fault = Fault.CUT

        async def asking() -> None:
            while True:
                await seen.ask_api()

        asking_on = asyncio.create_task(asking())
        await assert_fires(seen, "MediaApiErrors")
        asking_on.cancel()
        services.postgres.fault = services.aws.sqs.fault = Fault.NONE


@pytest.mark.soak
async def test_a_blocked_event_loop_and_dead_services_fire_alerts(services: ProxiedServices) -> None:
    async with watch(services) as seen:

        async def holding_up() -> None:
            while True:
                seen.consumer.signal(signal.SIGSTOP)
                await asyncio.sleep(0.9)
                seen.consumer.signal(signal.SIGCONT)
                await asyncio.sleep(0.4)

        held_up = asyncio.create_task(holding_up())
        await assert_fires(seen, "MediaLoopLag")
        held_up.cancel()
        seen.consumer.signal(signal.SIGCONT)
        await asyncio.gather(seen.consumer.kill(), seen.api.kill())
        await assert_fires(seen, "MediaConsumerDown", "MediaApiDown")


@pytest.mark.soak
async def test_a_consumer_that_restarts_again_and_again_fires_an_alert(services: ProxiedServices) -> None:
    async with watch(services, SLOW) as seen:
        for _ in range(4):
            await seen.consumer.kill()
            await seen.prometheus.until('up{job="media-consumer"} == 0')
            await seen.consumer.start()
            await seen.prometheus.until('up{job="media-consumer"} == 1')
        await assert_fires(seen, "MediaRestarts")


@pytest.mark.soak
def test_every_alert_has_fired() -> None:
    """Needs the tests above: alone it has nothing to check."""
    groups = yaml.safe_load((DEPLOYED / "alerts.yaml").read_text())["groups"]
    every = {rule["alert"] for group in groups for rule in group["rules"]}
    if not FIRED:
        pytest.skip("the tests that make alerts fire did not run")
    assert every == FIRED
