"""The whole stack with MEDIA_TRANSCODER=ffmpeg: no job is submitted, and a killed consumer loses nothing."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from tests.acceptance.conftest import process_on
from tests.conftest import EmbeddedStack, embedded_stack
from tests.integration.transcode.source_clips import Clip

DEADLINE = 90.0
FILM = Clip("film", 640, 360, seconds=20)


@pytest.fixture(scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    settings = {
        "MEDIA_TRANSCODER": "ffmpeg",
        "MEDIA_VISIBILITY_TIMEOUT": "10",
        "MEDIA_RECEIVE_WAIT": "2",
        "MEDIA_RECONCILE_INTERVAL": "2",
    }
    async with embedded_stack(tmp_path_factory.mktemp("local"), **settings) as up:
        yield up


async def test_video_becomes_ready_although_the_consumer_is_killed(local: EmbeddedStack, tmp_path: Path) -> None:
    sending = asyncio.create_task(process_on(local)("--json", "--out", tmp_path / "out", FILM.make(tmp_path)))
    connection = await asyncpg.connect(local.dsn)
    try:
        await until(connection, "SELECT count(*) > 0 FROM stages WHERE stage = 'transcode' AND progress > 0")
        os.kill(local.parts.consumer.child.pid, signal.SIGKILL)
        outcome = await sending
        (film,) = outcome.files
        assert (film.status, outcome.status) == ("ready", 0), outcome.stdout
        assert {one.name for one in film.renditions} == {"hls", "mp4", "poster"}
        attempts = "SELECT count(DISTINCT attempt) = 1 AND min(attempt) > 1 FROM renditions"
        assert await connection.fetchval(attempts), "all are of the one attempt that won"
        await until(connection, "SELECT count(*) = 0 FROM outbox")
        assert await connection.fetchval("SELECT count(*) = 0 FROM stages WHERE job_id IS NOT NULL")
    finally:
        await connection.close()
    assert film.asset_id
    assert await report_of(local, film.asset_id) == {"clean": True}


async def until(connection: "asyncpg.Connection[asyncpg.Record]", query: str) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await connection.fetchval(query):  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.1)


async def report_of(stack: EmbeddedStack, asset_id: str) -> dict[str, object]:
    """Tell whether the API reports that the asset's HLS conforms."""
    headers = {"Authorization": f"Bearer {stack.token(role='admin')}"}
    url = f"{stack.api_url}/api/v1/media/assets/{asset_id}/report"
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
        assert answer.status == 200, await answer.text()
        return {"clean": (await answer.json())["clean"]}
