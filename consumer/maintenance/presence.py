"""Reports this daemon's presence, for the other daemons and for operators."""

import asyncio
import os
import socket
from collections.abc import Callable
from uuid import uuid4

import structlog

from consumer.queue.part_health import PartHealth
from media.asset_store.operations import REPORT_INTERVAL, ConsumerStatus, Operations
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

REMOVAL_DEADLINE = 1.0
"""Seconds for removing the row: a daemon that ends has little time left."""


def consumer_id() -> str:
    """Make a unique name that shows the machine (on ECS, the task) and the process."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid4().hex[:6]}"


class Presence:
    """Reports every `interval` seconds what `snapshot` returns: the daemon's status at that moment."""

    def __init__(
        self, operations: Operations, snapshot: Callable[[], ConsumerStatus], *, interval: float = REPORT_INTERVAL
    ) -> None:
        self._operations = operations
        self._snapshot = snapshot
        self._interval = interval
        self.health = PartHealth("presence")

    async def run(self) -> None:
        """Report until canceled, then remove the row. No failure ends the daemon."""
        try:
            while True:
                try:
                    await self._operations.report(self._snapshot())
                except UnavailableError as error:
                    log.debug("presence.not_reported", error=str(error))
                except Exception as error:
                    self.health.failed(error)
                    log.exception("presence.unforeseen")
                else:
                    self.health.succeeded()
                await asyncio.sleep(self._interval)
        finally:
            # A row that stays, because Postgres is away, counts as gone when it is not refreshed.
            try:
                async with asyncio.timeout(REMOVAL_DEADLINE):
                    await self._operations.unregister(self._snapshot().consumer_id)
            except (UnavailableError, TimeoutError) as error:
                log.debug("presence.not_removed", error=str(error))
            except Exception:
                log.exception("presence.unforeseen")
