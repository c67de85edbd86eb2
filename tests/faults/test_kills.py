"""The daemon is killed again and again, amid duplicates and reordering: nothing is lost, nothing is done twice."""

import asyncio
import signal

import pytest

from tests.faults.proxied_services import Daemon, ProxiedServices
from tests.faults.sample_uploads import assert_consistent, mixed_kinds, send_all, wait_until_all_ended

MORE_ATTEMPTS = {"MEDIA_MAX_ATTEMPTS": "15"}
"""An attempt that is killed counts, else a file that kills its worker would do so for ever."""


async def kill_repeatedly(services: ProxiedServices, daemon: Daemon, kills: int) -> None:
    """Start the daemon and kill it at a random moment, again and again: by SIGTERM each third time, else by SIGKILL."""
    for number in range(kills):
        await daemon.start()
        lived = asyncio.create_task(daemon.ended())
        await asyncio.wait({lived}, timeout=services.chance.uniform(0.1, 2.5))
        assert not lived.done(), daemon.log.read_text()[-4000:]
        if number % 3:
            await daemon.kill()
            await lived
        else:
            daemon.signal(signal.SIGTERM)
            assert await lived == 0, daemon.log.read_text()[-4000:]


def duplicate_and_reorder(services: ProxiedServices) -> None:
    """Let sends be carried out twice or overtaken, and answers be lost."""
    services.aws.sqs.duplicate, services.aws.sqs.reorder, services.aws.sqs.lose_answer = 0.2, 0.3, 0.01


async def survive(
    services: ProxiedServices, film: bytes, count: int, kills: int, *, videos: int, deadline: float
) -> None:
    duplicate_and_reorder(services)
    kinds = mixed_kinds(services.chance, count, pictures=0.2, videos=videos, film=film)
    daemon = services.daemon(**MORE_ATTEMPTS)
    try:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(send_all(services, kinds))
            group.create_task(kill_repeatedly(services, daemon, kills))
        await daemon.start()
        await wait_until_all_ended(services, deadline, hidden=False)
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
    finally:
        await daemon.kill()
    await assert_consistent(services, sending.result())
    assert '"event":"Task exception was never retrieved' not in daemon.log.read_text()


@pytest.mark.timeout(900)
async def test_nothing_is_lost_when_the_daemon_is_killed_six_times(services: ProxiedServices, film: bytes) -> None:
    """80 uploads are some 160 messages: announcements, a fifth of them twice, requests for stages, events of jobs."""
    await survive(services, film, 80, 6, videos=4, deadline=480)
    await services.purge()


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_nothing_is_lost_when_the_daemon_is_killed_fifty_times(services: ProxiedServices, film: bytes) -> None:
    await survive(services, film, 5000, 50, videos=50, deadline=3600)
