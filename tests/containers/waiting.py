"""Waiting for a service in a container: for its probe, and for ready assets."""

import asyncio
import time
from typing import Any

import aiohttp

from media.asset_store.database import Database

DEADLINE = 300.0
"""Seconds for each wait, beside whatever else the machine does."""


async def wait_for_answer(url: str) -> Any:
    """Return the status and the JSON of a probe, once the service accepts connections."""
    async with asyncio.timeout(DEADLINE), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as answer:
                    return answer.status, await answer.json()
            except aiohttp.ClientConnectionError:
                await asyncio.to_thread(time.sleep, 0.1)  # no event tells when the port is open


async def count_ready(database: Database) -> int:
    return int(await database.fetchval("SELECT count(*) FROM assets WHERE status = 'ready'"))


async def wait_until_ready(database: Database, count: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while await count_ready(database) < count:
            pass  # each query is a round trip, during which other tasks run
