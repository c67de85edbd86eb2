"""What Postgres says of changed assets, by LISTEN: on a connection of its own, since a pool drops its listeners."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any, NoReturn
from uuid import UUID

import asyncpg
import structlog

from media.asset_store.database import CONNECT_TIMEOUT, postgres_calls
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

CHANNEL = "asset"
PROBE_INTERVAL = 20.0
"""Seconds without news after which the connection is tried: one that was cut in silence would stay silent."""
LONGEST_PAUSE = 15.0
"""Seconds between two attempts to connect, at most."""

Changed = Callable[[UUID, str], None]
"""Is told the asset and its owner."""


async def watch_assets(dsn: str, changed: Changed, listening: Callable[[bool], None]) -> NoReturn:
    """Call `changed` for every change, for ever; ends by cancellation only.

    `listening` is told True once notifications flow and False when they stop: what happens in between is not told.
    """
    failures = 0
    while True:
        try:
            with postgres_calls():
                await _listen(dsn, changed, listening)
        except (UnavailableError, asyncpg.PostgresError) as error:
            log.warning("changes.lost", error=str(error))
        failures += 1
        await asyncio.sleep(random.uniform(0.1, min(LONGEST_PAUSE, 0.2 * 2 ** min(failures, 10))))  # noqa: S311 - jitter


async def _listen(dsn: str, changed: Changed, listening: Callable[[bool], None]) -> None:
    """Listen on one connection until it is lost."""
    lost = asyncio.Event()

    def tell(*news: Any) -> None:
        asset_id, _, owner_id = str(news[3]).partition(" ")
        try:
            changed(UUID(asset_id), owner_id)
        except ValueError:
            log.warning("changes.odd_payload", payload=str(news[3])[:100])

    connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_TIMEOUT,
        command_timeout=CONNECT_TIMEOUT,
        server_settings={"application_name": "media-changes"},
    )
    try:
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(CHANNEL, tell)
        listening(True)
        while not lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_INTERVAL):
                    await lost.wait()
            if not lost.is_set():
                await connection.execute("SELECT 1")
    finally:
        listening(False)
        connection.terminate()
