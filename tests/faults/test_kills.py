"""The daemon dies again and again amid duplicates and disorder: nothing is lost, nothing is done twice."""

import asyncio
import signal

import pytest

from tests.faults.site import Daemon, Site
from tests.faults.uploads import all_ended, assert_all_well, mixed, send_all

TRIES = {"MEDIA_MAX_ATTEMPTS": "15"}
"""A killed attempt counts, as it must: else a file that kills its worker would do so for ever."""


async def killed_again_and_again(site: Site, daemon: Daemon, kills: int) -> None:
    """At random moments, by SIGKILL or SIGTERM; started again each time."""
    for _ in range(kills):
        await daemon.start()
        lived = asyncio.create_task(daemon.ended())
        await asyncio.wait({lived}, timeout=site.chance.uniform(0.1, 2.5))
        assert not lived.done(), daemon.log.read_text()[-4000:]
        if site.chance.random() < 0.7:
            await daemon.kill()
            await lived
        else:
            daemon.signal(signal.SIGTERM)
            assert await lived == 0, daemon.log.read_text()[-4000:]


def make_disorder(site: Site) -> None:
    """Sends that are carried out twice or overtaken, and answers that are lost."""
    site.aws.sqs.duplicate, site.aws.sqs.reorder, site.aws.sqs.deaf = 0.2, 0.3, 0.01


async def survive(site: Site, film: bytes, count: int, kills: int, *, videos: int, deadline: float) -> None:
    make_disorder(site)
    kinds = mixed(site.chance, count, pictures=0.2, videos=videos, film=film)
    daemon = site.daemon(**TRIES)
    try:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(send_all(site, kinds))
            group.create_task(killed_again_and_again(site, daemon, kills))
        await daemon.start()
        await all_ended(site, deadline)
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
    finally:
        await daemon.kill()
    await assert_all_well(site, sending.result())
    assert '"event":"Task exception was never retrieved' not in daemon.log.read_text()


@pytest.mark.timeout(600)
async def test_ten_deaths(site: Site, film: bytes) -> None:
    """250 uploads are some 500 messages: announcements, a fifth of them twice, requests for stages, events of jobs."""
    await survive(site, film, 250, 10, videos=6, deadline=240)


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_fifty_deaths(site: Site, film: bytes) -> None:
    await survive(site, film, 5000, 50, videos=50, deadline=3600)
