"""This daemon's row among those that live, for the operator's view."""

import asyncio
import os
import socket
from collections.abc import Callable
from uuid import uuid4

import structlog

from media.asset_store.operations import BEAT, Operations, Sign
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

LEAVE_DEADLINE = 1.0
"""Seconds for the row to go: the daemon has little time left when it ends."""


def consumer_id() -> str:
    """A name that tells the machine (the task, on ECS) and the process, and is used once."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid4().hex[:6]}"


class Roster:
    """Gives a sign of life every `interval` seconds. `look` says how the daemon stands at this moment."""

    def __init__(self, operations: Operations, look: Callable[[], Sign], *, interval: float = BEAT) -> None:
        self._operations = operations
        self._look = look
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
            await self._operations.beat(self._look())
        except UnavailableError as error:
            log.debug("roster.not_seen", error=str(error))
        except Exception:
            log.exception("roster.unforeseen")

    async def _leave(self) -> None:
        """A row that stays, because Postgres is away, counts as gone when it is not refreshed."""
        try:
            async with asyncio.timeout(LEAVE_DEADLINE):
                await self._operations.gone(self._look().consumer_id)
        except (UnavailableError, TimeoutError) as error:
            log.debug("roster.not_left", error=str(error))
        except Exception:
            log.exception("roster.unforeseen")
