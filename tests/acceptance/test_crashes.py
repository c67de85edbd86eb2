"""The consumer is killed or stopped during ten uploads: nothing is lost and nothing is done twice."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.acceptance.conftest import Outcome, jpeg, process_on
from tests.conftest import EmbeddedStack, embedded_stack

UPLOADS = 10
type Connection = "asyncpg.Connection[asyncpg.Record]"
CHANGE_DEADLINE = 90.0
POLL_PAUSE = 0.05


@pytest.fixture(scope="module")
async def short_lease_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    """Start a stack that notices a dead worker after 10 s: leases and visibility have their shortest values."""
    settings = {"MEDIA_VISIBILITY_TIMEOUT": "10", "MEDIA_RECEIVE_WAIT": "2", "MEDIA_RECONCILE_INTERVAL": "2"}
    async with embedded_stack(tmp_path_factory.mktemp("short-lease-stack"), **settings) as up:
        yield up


def photos(folder: Path) -> list[Path]:
    paths = [folder / f"photo-{number}.jpg" for number in range(UPLOADS)]
    for number, path in enumerate(paths):
        path.write_bytes(jpeg(1600, 1200, seed=number))
    return paths


async def until(connection: Connection, condition: str) -> None:
    """Poll until a condition in SQL is true."""
    async with asyncio.timeout(CHANGE_DEADLINE):
        while not await connection.fetchval(f"SELECT {condition}"):  # noqa: ASYNC110 - the event is in another process; our own literals
            await asyncio.sleep(POLL_PAUSE)


async def assert_all_done_once(outcome: Outcome, connection: Connection) -> None:
    assert outcome.status == 0, outcome.stdout
    assert [one.status for one in outcome.files] == ["ready"] * UPLOADS
    for one in outcome.files:
        names = Counter(rendition.name for rendition in one.renditions)
        assert names == {"w150": 1, "w320": 1, "w640": 1, "w1024": 1, "w1920": 1}
        keys = await connection.fetch("SELECT DISTINCT attempt FROM renditions WHERE asset_id = $1::uuid", one.asset_id)
        assert len(keys) == 1, "all renditions are of the one attempt that won"
    await until(connection, "count(*) = 0 FROM outbox")


async def test_kill_9_in_the_middle_of_ten_uploads(short_lease_stack: EmbeddedStack, tmp_path: Path) -> None:
    connection = await asyncpg.connect(short_lease_stack.dsn)
    try:
        sending = asyncio.create_task(process_on(short_lease_stack)("--json", *photos(tmp_path)))
        await until(connection, "count(*) > 0 FROM stages WHERE state = 'leased'")
        await until(connection, "count(*) >= 3 FROM assets WHERE status = 'ready'")
        os.kill(short_lease_stack.parts.consumer.child.pid, signal.SIGKILL)
        await assert_all_done_once(await sending, connection)
    finally:
        await connection.close()


async def test_sigterm_while_busy(short_lease_stack: EmbeddedStack, tmp_path: Path) -> None:
    connection = await asyncpg.connect(short_lease_stack.dsn)
    try:
        sending = asyncio.create_task(process_on(short_lease_stack)("--json", *photos(tmp_path)))
        await until(connection, "count(*) > 0 FROM stages WHERE state = 'leased'")
        consumer = short_lease_stack.parts.consumer.child
        os.kill(consumer.pid, signal.SIGTERM)
        async with asyncio.timeout(float(short_lease_stack.settings.get("MEDIA_DRAIN_TIMEOUT", "25")) + 5):
            assert await consumer.wait() == 0, consumer.log_tail()
        await assert_all_done_once(await sending, connection)
    finally:
        await connection.close()
