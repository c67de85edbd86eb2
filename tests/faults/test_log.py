"""A log that nobody reads, that is closed, or whose disk is full stops neither the consumer nor the API."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator

import aiohttp
import pytest

from tests.faults.proxied_services import Daemon, ProxiedServices
from tests.faults.sample_uploads import PNG, send_all

SMALLEST_PIPE = 4096
"""Bytes: full after some fifteen lines."""


@pytest.fixture(params=["unread", "closed", "disk full"])
def stdout(request: pytest.FixtureRequest) -> Iterator[int]:
    if request.param == "disk full":
        full = os.open("/dev/full", os.O_WRONLY)
        yield full
        os.close(full)
        return
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE)
    if request.param == "closed":
        os.close(reading)
    yield writing
    os.close(writing)
    if request.param == "unread":
        os.close(reading)


async def dropped(daemon: Daemon) -> float:
    async with aiohttp.ClientSession() as http, http.get(f"{daemon.url}/metrics") as answer:
        [line] = [one for one in (await answer.text()).splitlines() if one.startswith("media_log_lines_dropped_total")]
        return float(line.split()[1])


async def test_consumer_works_and_drains(
    services: ProxiedServices, stdout: int, request: pytest.FixtureRequest
) -> None:
    daemon = services.daemon()
    daemon.stdout = stdout
    await daemon.start()
    try:
        uploads = await send_all(services, [PNG] * 12, duplicates=0, late=0)
        for _ in range(30):
            await services.send("uploads", {"not": "an event"})
        ids = [one.asset_id for one in uploads]
        await services.until(
            "count(*) = 12 FROM assets WHERE status = 'ready' AND asset_id = ANY($1)", ids, deadline=60
        )
        assert await daemon.get("livez") == 200
        if "unread" not in request.node.name:
            assert await dropped(daemon) > 0
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
    finally:
        await daemon.kill()
        await services.purge()


async def test_api_answers_and_drains(services: ProxiedServices, stdout: int) -> None:
    api = services.api(MEDIA_API_DRAIN_DELAY="0")
    api.stdout = stdout
    await api.start()
    try:
        async with aiohttp.ClientSession() as http:
            for _ in range(10):
                answers = await asyncio.gather(*(http.get(f"{api.url}/api/v1/media/assets") for _ in range(10)))
                assert {answer.status for answer in answers} == {401}
                for answer in answers:
                    answer.release()
        api.signal(signal.SIGTERM)
        assert await api.ended() == 0
    finally:
        await api.kill()
