"""Asks ECS not to stop this task while it does long work of its own.

A protection also holds up deployments, so it is asked for only while such work lasts, for an hour at a time, and
renewed. It is a courtesy: when the agent does not answer, the work goes on, and a stop only means doing it again.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
import structlog

log = structlog.get_logger(__name__)

TIMEOUT = 2.0
"""Seconds for one request."""
MINUTES = 60
RENEWAL = 20 * 60.0
"""Seconds; two renewals may fail before the protection runs out."""
RETRIES = (1.0, 5.0, 20.0, 60.0)
"""Seconds before each further try to tell the agent the same; then the next renewal comes, or the protection's end."""


class ScaleInProtection:
    """Protects the task for as long as somebody holds it. `agent_uri` is ECS_AGENT_URI; None outside of ECS."""

    def __init__(self, agent_uri: str | None, *, renewal: float = RENEWAL, retries: Sequence[float] = RETRIES) -> None:
        self._uri = agent_uri and f"{agent_uri.rstrip('/')}/task-protection/v1/state"
        self._renewal = renewal
        self._retries = retries
        self._holders = 0
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Protected until left. Never waits for the agent, and never raises by itself."""
        if not self._uri:
            yield
            return
        self._holders += 1
        self._wake()
        try:
            yield
        finally:
            self._holders -= 1
            self._wake()

    async def settled(self) -> None:
        """Until the agent was told that nobody holds it any more, or could not be."""
        if self._keeper:
            await asyncio.wait({self._keeper})

    def _wake(self) -> None:
        self._changed.set()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(str(self._uri)))

    async def _keep(self, uri: str) -> None:
        """Tell the agent what is wanted, again before it expires, until nobody holds anything any more."""
        failures = 0
        while True:
            failures = 0 if self._changed.is_set() else failures
            self._changed.clear()
            state: dict[str, object] = {"ProtectionEnabled": bool(self._holders)}
            if self._holders:
                state["ExpiresInMinutes"] = MINUTES
            failures = 0 if await _tell(uri, state) else failures + 1
            if 0 < failures <= len(self._retries):
                await self._changed_within(self._retries[failures - 1])
            elif self._holders:
                failures = 0
                await self._changed_within(self._renewal)
            elif not self._changed.is_set():
                return

    async def _changed_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            log.debug("ecs_protection.renewing")


async def _tell(uri: str, state: dict[str, object]) -> bool:
    """Whether the agent took it."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        # Without `trust_env`: the agent is link-local, and no proxy reaches it.
        async with aiohttp.ClientSession(timeout=timeout) as session, session.put(uri, json=state) as answer:
            said = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        log.warning("ecs_protection.not_reported", error=f"{type(error).__name__}: {error}")
        return False
    taken = answer.status == HTTPStatus.OK and isinstance(said, dict) and "protection" in said
    if not taken:
        log.warning("ecs_protection.refused", status=answer.status, answer=str(said)[:200])
    return taken
