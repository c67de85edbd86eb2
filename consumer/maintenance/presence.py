"""This daemon's row among those that live, for the operator's view."""

import asyncio
import os
import socket
from collections.abc import Callable
from uuid import uuid4

import structlog

from media.asset_store.operations import REPORT_INTERVAL, ConsumerStatus, Operations
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

REMOVAL_DEADLINE = 1.0
"""Seconds for the row to go: the daemon has little time left when it ends."""


def consumer_id() -> str:
    """A name that tells the machine (the task, on ECS) and the process, and is used once."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid4().hex[:6]}"


class Presence:
    """Gives a sign of life every `interval` seconds. `look` says how the daemon stands at this moment."""

    def __init__(
        self, operations: Operations, look: Callable[[], ConsumerStatus], *, interval: float = REPORT_INTERVAL
    ) -> None:
        self._operations = operations
        self._snapshot = look
        self._interval = interval

    async def run(self) -> None:
        """For ever; ends by cancellation, and then the row goes."""
        try:
            while True:
                await self._beat()
                await asyncio.sleep(self._interval)
        finally:
            await self._leave()

    async def _beat(self) -> None:
        """Whatever goes wrong, the next sign may be seen: to be seen is not worth the daemon's life."""
        try:
            await self._operations.report(self._snapshot())
        except UnavailableError as error:
            log.debug("presence.not_reported", error=str(error))
        except Exception:
            log.exception("presence.unforeseen")

    async def _leave(self) -> None:
        """A row that stays, because Postgres is away, counts as gone when it is not refreshed."""
        try:
            async with asyncio.timeout(REMOVAL_DEADLINE):
                await self._operations.gone(self._snapshot().consumer_id)
        except (UnavailableError, TimeoutError) as error:
            log.debug("presence.not_removed", error=str(error))
        except Exception:
            log.exception("presence.unforeseen")
