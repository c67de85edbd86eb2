"""Asks ECS not to stop this task while it does long work itself.

A protection also holds up deployments, so it is requested only while such work lasts, for an hour at a time, and
renewed. It is optional: when the agent does not answer, the work goes on, and a stop only means doing it again.
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
"""Minutes for which one request protects the task."""
RENEWAL = 20 * 60.0
"""Seconds between two renewals; two may fail before the protection runs out."""
RETRIES = (1.0, 5.0, 20.0, 60.0)
"""Seconds before each repetition of a request that failed. After the last comes the next renewal, or the expiry."""


class ScaleInProtection:
    """Protects the task for as long as it is held. `agent_uri` is ECS_AGENT_URI; None outside of ECS."""

    def __init__(self, agent_uri: str | None, *, renewal: float = RENEWAL, retries: Sequence[float] = RETRIES) -> None:
        self._uri = agent_uri and f"{agent_uri.rstrip('/')}/task-protection/v1/state"
        self._renewal = renewal
        self._retries = retries
        self._holders = 0
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Protect the task until the context ends. Never waits for the agent, and raises nothing of its own."""
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
        """Wait until the agent knows that nothing holds the protection any more, or could not be told."""
        if self._keeper:
            await asyncio.wait({self._keeper})

    def _wake(self) -> None:
        self._changed.set()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(str(self._uri)))

    async def _keep(self, uri: str) -> None:
        """Send the wanted state, again before it expires, until nothing holds the protection."""
        failures = 0
        while True:
            failures = 0 if self._changed.is_set() else failures
            self._changed.clear()
            state: dict[str, object] = {"ProtectionEnabled": bool(self._holders)}
            if self._holders:
                state["ExpiresInMinutes"] = MINUTES
            failures = 0 if await _put_state(uri, state) else failures + 1
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


async def _put_state(uri: str, state: dict[str, object]) -> bool:
    """Send the wanted state to the agent. Return whether it was accepted."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        # Without `trust_env`: the agent is link-local, and no proxy reaches it.
        async with aiohttp.ClientSession(timeout=timeout) as session, session.put(uri, json=state) as response:
            body = await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        log.warning("ecs_protection.not_reported", error=f"{type(error).__name__}: {error}")
        return False
    accepted = response.status == HTTPStatus.OK and isinstance(body, dict) and "protection" in body
    if not accepted:
        log.warning("ecs_protection.refused", status=response.status, answer=str(body)[:200])
    return accepted
