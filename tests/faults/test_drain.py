"""SIGTERM to a busy daemon: messages not started become visible at once, the deadline is kept, nothing is lost."""

import asyncio
import json
import signal
import time
from collections import Counter

import pytest

from tests.faults.fault_proxies import Fault
from tests.faults.proxied_services import Daemon, ProxiedServices
from tests.faults.sample_uploads import PDF, assert_consistent, send_all, wait_until_all_ended

UPLOADS = 24
SLOTS = {"MEDIA_CONCURRENCY": "4"}
SLOW = 7.0
"""Seconds for each call to S3. A scan makes two before its first byte, so it does not end within a test."""


async def start_until_busy(services: ProxiedServices, daemon: Daemon) -> None:
    """Start a daemon, and wait until scans that do not end take all slots and other messages are prefetched."""
    await daemon.start()
    await services.until("count(*) >= 4 FROM stages WHERE state = 'leased'", deadline=30)
    async with asyncio.timeout(20):
        while await services.visible_uploads() > UPLOADS - 10:  # noqa: ASYNC110 - it is in the emulator
            await asyncio.sleep(0.05)


async def test_unstarted_messages_are_released_before_the_running_ones_end(services: ProxiedServices) -> None:
    services.aws.s3.delay = SLOW
    uploads = await send_all(services, [PDF] * UPLOADS, duplicates=0, late=0)
    daemon = services.daemon(**SLOTS)
    try:
        await start_until_busy(services, daemon)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while await services.visible_uploads() < UPLOADS - 4:  # noqa: ASYNC110 - it is in the emulator
                await asyncio.sleep(0.05)
        released = time.monotonic() - began
        assert await daemon.get("readyz") == 503, "they are released while others still run"
        assert await daemon.ended() == 0
        ended = time.monotonic() - began
        print(f"visible after {released:.1f} s, ended after {ended:.1f} s")  # noqa: T201 - the figures are wanted
        assert await services.visible_uploads() == UPLOADS, "the interrupted ones too: none was waited for to its end"
        held = "count(*) = 0 FROM stages WHERE state = 'leased' OR attempt > forgiven"
        assert await services.db.fetchval(f"SELECT {held}"), "the leases are given back, uncounted"
        services.aws.s3.delay = 0.0
        await daemon.start()
        await wait_until_all_ended(services, 60)
    finally:
        await daemon.kill()
    await assert_consistent(services, uploads)


async def test_a_second_signal_ends_the_daemon_at_once(services: ProxiedServices) -> None:
    daemon, gate = services.daemon(**SLOTS, MEDIA_DRAIN_TIMEOUT="60"), services.clamd.gate
    try:
        await daemon.start()
        uploads = await send_all(services, [PDF], duplicates=0, late=0)
        await wait_until_all_ended(services, 60)  # so that clamd has passed its self-test, which the gate would hold
        services.clamd.gated = b"zINSTREAM"
        gate.close()
        uploads += await send_all(services, [PDF] * UPLOADS, duplicates=0, late=0)
        async with asyncio.timeout(30):
            while gate.waiting < 4:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.05)
        daemon.signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while await daemon.get("readyz") != 503:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.05)
        daemon.signal(signal.SIGINT)
        async with asyncio.timeout(20):  # the drain would last a minute, as clamd answers PING and so has its time
            await daemon.ended()
        gate.open()
        await daemon.start()
        await wait_until_all_ended(services, 60)
    finally:
        await daemon.kill()
    await assert_consistent(services, uploads)


async def test_a_message_with_bad_records_handles_the_good_ones_once(services: ProxiedServices) -> None:
    """Three uploads are announced in one message, together with a record of an unknown asset."""
    daemon = services.daemon()
    services.clamd.fault = Fault.BLACK_HOLE  # nothing is scanned before the message with all of them is sent
    uploads = await send_all(services, [PDF] * 3, duplicates=0, late=0)
    await services.purge()
    records = [record for one in uploads for record in one.notification["Records"]]
    unknown = json.loads(json.dumps(records[0]))
    unknown["s3"]["object"]["key"] = f"uploads/document/owner/{'0' * 8}-0000-4000-8000-{'0' * 12}/x.pdf"
    services.clamd.fault = Fault.NONE
    await services.send("uploads", {"Records": [records[0], unknown, *records[1:]]})
    try:
        await daemon.start()
        await wait_until_all_ended(services, 60)
    finally:
        await daemon.kill()
    attempts = await services.db.fetch("SELECT attempt FROM stages")
    assert [row["attempt"] for row in attempts] == [1] * 6, "a scan and the pages of each"
    assert (await services.depths("-dlq"))["uploads"] == 1, "only the unknown one"
    await services.purge()
    await assert_consistent(services, uploads)


@pytest.mark.soak
@pytest.mark.timeout(200)
async def test_an_idle_queue_costs_four_requests_a_minute(services: ProxiedServices) -> None:
    daemon = services.daemon(MEDIA_RECEIVE_WAIT="20", MEDIA_RECONCILE_INTERVAL="30")
    try:
        await daemon.start()
        await services.until("pg_sleep(25) IS NOT NULL", deadline=40)  # past the first reading of the depths
        began = time.monotonic()
        await services.until("pg_sleep(120) IS NOT NULL", deadline=150)
        seen = Counter(queue.removesuffix("-dlq") for at, queue, _ in services.aws.sqs.times if at >= began)
        print(f"in two minutes: {dict(seen)}")  # noqa: T201 - the figures are wanted
        assert max(seen.values()) <= 8
    finally:
        await daemon.kill()
