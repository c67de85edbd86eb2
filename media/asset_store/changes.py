"""Listen for changed assets and waiting events (LISTEN), on a dedicated connection: a pool drops its listeners."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any, NoReturn
from uuid import UUID

import structlog

from media.asset_store.database import open_connection, postgres_calls
from media.errors import Dependency, UnavailableError

log = structlog.get_logger(__name__)

CHANNEL = "asset"
EVENT_CHANNEL = "event"
PROBE_INTERVAL = 20.0
"""Seconds without a notification after which the connection is probed: one that was cut silently stays silent."""
LONGEST_PAUSE = 15.0
"""Longest pause, in seconds, between two attempts to connect."""

Changed = Callable[[UUID, str], None]
"""Receives the asset and its owner."""


async def watch_assets(dsn: str, changed: Changed, listening: Callable[[bool], None]) -> NoReturn:
    """Call `changed` for every change, for ever. Ends by cancellation only.

    `listening` is called with True once notifications flow and with False when they stop. Changes in between are lost.
    """

    def notify(payload: str) -> None:
        asset_id, _, owner_id = payload.partition(" ")
        try:
            changed(UUID(asset_id), owner_id)
        except ValueError:
            log.warning("changes.odd_payload", payload=payload[:100])

    await _watch(dsn, CHANNEL, notify, listening)


async def watch_events(dsn: str, called: Callable[[], None]) -> NoReturn:
    """Call `called` when an event waits to be sent, and when some may have been missed. Ends by cancellation only."""
    await _watch(dsn, EVENT_CHANNEL, lambda _: called(), lambda _: called())


async def _watch(dsn: str, channel: str, notify: Callable[[str], None], listening: Callable[[bool], None]) -> NoReturn:
    failures = 0
    while True:
        try:
            with postgres_calls():
                await _listen(dsn, channel, notify, listening)
        except UnavailableError as error:
            log.warning("changes.lost", error=str(error))
        except Exception:  # whatever is answered, the streams of this process depend on this loop
            log.exception("changes.unforeseen")
        failures += 1
        await asyncio.sleep(random.uniform(0.1, min(LONGEST_PAUSE, 0.2 * 2 ** min(failures, 10))))  # noqa: S311 - jitter


async def _listen(dsn: str, channel: str, notify: Callable[[str], None], listening: Callable[[bool], None]) -> None:
    """Listen on one connection until it is lost."""
    lost = asyncio.Event()

    def receive(_connection: Any, _process_id: int, _channel: str, payload: object) -> None:
        notify(str(payload))

    connection = await open_connection(dsn, application="media-changes")
    try:
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(channel, receive)
        listening(True)
        while not lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_INTERVAL):
                    await lost.wait()
            if (
                not lost.is_set()
                and await connection.fetchval("SELECT current_setting('transaction_read_only')") == "on"
            ):
                # A failover: this server lives on, but nothing changes there any more.
                raise UnavailableError(Dependency.POSTGRES, "the server became read-only")
    finally:
        listening(False)
        connection.terminate()
