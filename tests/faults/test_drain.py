"""SIGTERM to a daemon that is busy: what has not begun is visible at once, the deadline is kept, nothing is lost."""

import asyncio
import json
import signal
import time
from collections import Counter

import pytest

from tests.faults.site import Daemon, Site
from tests.faults.uploads import PDF, all_ended, assert_all_well, send_all
from tests.faults.wires import Fault

UPLOADS = 24
SLOTS = {"MEDIA_CONCURRENCY": "4"}
SLOW = 7.0
"""Seconds for each call to S3, of which a scan makes two before its first byte: as good as without end here."""


async def busy(site: Site, daemon: Daemon) -> None:
    """Until all slots are taken by scans that will not end, and others wait in the daemon's hands."""
    await daemon.start()
    await site.until("count(*) >= 4 FROM stages WHERE state = 'leased'", deadline=30)
    async with asyncio.timeout(20):
        while await visible(site) > UPLOADS - 10:  # noqa: ASYNC110 - it is in the emulator
            await asyncio.sleep(0.05)


async def visible(site: Site) -> int:
    name = "ApproximateNumberOfMessages"
    url = site.topology.queue_urls["uploads"]
    answer = await site.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(answer["Attributes"][name])


async def test_what_has_not_begun_is_visible_within_two_seconds_and_the_deadline_is_kept(site: Site) -> None:
    site.aws.s3.delay = SLOW
    uploads = await send_all(site, [PDF] * UPLOADS, duplicates=0, late=0)
    daemon = site.daemon(**SLOTS)
    try:
        await busy(site, daemon)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while await visible(site) < UPLOADS - 4:  # noqa: ASYNC110 - it is in the emulator
                await asyncio.sleep(0.05)
        put_back = time.monotonic() - began
        assert await daemon.get("readyz") == 503
        assert await daemon.ended() == 0
        ended = time.monotonic() - began
        print(f"visible after {put_back:.1f} s, ended after {ended:.1f} s")  # noqa: T201 - the figures are wanted
        assert put_back <= 2
        assert ended <= 8 + 1, "MEDIA_DRAIN_TIMEOUT"
        assert await visible(site) == UPLOADS, "the interrupted ones too"
        held = "count(*) = 0 FROM stages WHERE state = 'leased' OR attempt > forgiven"
        assert await site.db.fetchval(f"SELECT {held}"), "the leases are given back, uncounted"
        site.aws.s3.delay = 0.0
        await daemon.start()
        await all_ended(site, 60)
    finally:
        await daemon.kill()
    await assert_all_well(site, uploads)


async def test_a_second_signal_ends_it_at_once(site: Site) -> None:
    site.aws.s3.delay = SLOW
    uploads = await send_all(site, [PDF] * UPLOADS, duplicates=0, late=0)
    daemon = site.daemon(**SLOTS)
    try:
        await busy(site, daemon)
        daemon.signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while await daemon.get("readyz") != 503:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.05)
        began = time.monotonic()
        daemon.signal(signal.SIGINT)
        await daemon.ended()
        assert time.monotonic() - began <= 3
        site.aws.s3.delay = 0.0
        await daemon.start()
        await all_ended(site, 60)
    finally:
        await daemon.kill()
    await assert_all_well(site, uploads)


async def test_a_message_with_one_bad_record_does_the_good_ones_once(site: Site) -> None:
    """Three uploads announced in one message, with a record that makes no sense and one of nobody's among them."""
    daemon = site.daemon()
    site.clamd.fault = Fault.BLACK_HOLE  # nothing is scanned before the message with all of them is there
    uploads = await send_all(site, [PDF] * 3, duplicates=0, late=0)
    await site.purge()
    records = [record for one in uploads for record in one.notification["Records"]]
    strange = json.loads(json.dumps(records[0]))
    strange["s3"]["object"]["key"] = f"uploads/document/owner/{'0' * 8}-0000-4000-8000-{'0' * 12}/x.pdf"
    site.clamd.fault = Fault.NONE
    await site.send("uploads", {"Records": [records[0], strange, *records[1:]]})
    try:
        await daemon.start()
        await all_ended(site, 60)
    finally:
        await daemon.kill()
    attempts = await site.db.fetch("SELECT attempt FROM stages")
    assert [row["attempt"] for row in attempts] == [1, 1, 1]
    assert (await site.depths("-dlq"))["uploads"] == 1, "the stranger's, alone"
    await site.purge()
    await assert_all_well(site, uploads)


@pytest.mark.soak
@pytest.mark.timeout(200)
async def test_an_idle_queue_costs_four_requests_a_minute(site: Site) -> None:
    daemon = site.daemon(MEDIA_RECEIVE_WAIT="20", MEDIA_RECONCILE_INTERVAL="30")
    try:
        await daemon.start()
        await site.until("pg_sleep(25) IS NOT NULL", deadline=40)  # past the first look at the depths
        began = time.monotonic()
        await site.until("pg_sleep(120) IS NOT NULL", deadline=150)
        seen = Counter(queue.removesuffix("-dlq") for at, queue, _ in site.aws.sqs.times if at >= began)
        print(f"in two minutes: {dict(seen)}")  # noqa: T201 - the figures are wanted
        assert max(seen.values()) <= 8
    finally:
        await daemon.kill()
