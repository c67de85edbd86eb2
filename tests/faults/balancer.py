"""A load balancer for the tests, and clients behind it who count every request that fails."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp

from deploy.local import tokens
from tests.faults.site import JWT_SECRET, Daemon
from tests.faults.uploads import Kind, Upload

PROBE_PAUSE = 0.2
"""Seconds between two looks at a target. service.yaml's balancer takes ten, and is told of a stop by ECS besides."""
LOOK_PAUSE = 0.1
"""Seconds between two looks of a client at its upload."""
UNFINISHED = {"pending", "uploaded", "scanning", "processing"}
ENDS_WITHIN = 60.0


@dataclass(slots=True)
class Balancer:
    """Round robin over the targets that say of themselves that they are ready, as the one of service.yaml does."""

    targets: list[Daemon] = field(default_factory=list)
    ready: set[str] = field(default_factory=set)
    _turn: Iterator[int] = field(default_factory=itertools.count)

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            for target in list(self.targets):
                await self.look(target)
            await asyncio.sleep(PROBE_PAUSE)

    async def look(self, target: Daemon) -> bool:
        """Whether this target is ready, now and for those who ask next."""
        found = await target.get("readyz") == 200
        (self.ready.add if found else self.ready.discard)(target.url)
        return found

    def next(self) -> str:
        """The URL whose turn it is. Raises LookupError when there is none: a client would see 503."""
        urls = [target.url for target in self.targets if target.url in self.ready]
        if not urls:
            raise LookupError("no target is ready")
        return urls[next(self._turn) % len(urls)]


@asynccontextmanager
async def balancing(*targets: Daemon) -> AsyncIterator[Balancer]:
    balancer = Balancer(list(targets))
    watching = asyncio.create_task(balancer.watch())
    try:
        yield balancer
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@dataclass(slots=True)
class Clients:
    """People who upload. No request is tried a second time, not even by the HTTP client."""

    balancer: Balancer
    http: aiohttp.ClientSession
    uploads: list[Upload] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    requests: int = 0
    turn: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def upload(self, kind: Kind) -> None:
        """Ask for a slot, PUT, and look until it has ended; whatever fails on the way is written down."""
        try:
            async with asyncio.timeout(ENDS_WITHIN):
                await self._upload(kind)
        except (aiohttp.ClientError, TimeoutError, LookupError) as error:
            self.failed.append(f"{type(error).__name__}: {error}")
        async with self.turn:
            self.turn.notify_all()

    async def _upload(self, kind: Kind) -> None:
        asked = {
            "asset_type": kind.asset_type.value,
            "content_type": kind.content_type,
            "original_filename": kind.name,
            "size": len(kind.content),
        }
        slot = await self._api("POST", "/upload", asked)
        async with self.http.put(slot["upload_url"], data=kind.content, headers=slot["headers"]) as answer:
            answer.raise_for_status()
        path = f"/assets/{slot['asset_id']}"
        while (await self._api("GET", path))["status"] in UNFINISHED:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(LOOK_PAUSE)
        self.uploads.append(Upload(UUID(slot["asset_id"]), kind, {}))

    async def _api(self, method: str, path: str, body: Any = None) -> Any:
        self.requests += 1
        headers = {"Authorization": f"Bearer {tokens.mint(JWT_SECRET, user='dr-house', role='user')}"}
        url = f"{self.balancer.next()}/api/v1/media{path}"
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            if answer.status >= 400:
                self.failed.append(f"{method} {path}: {answer.status} {await answer.text()}")
            answer.raise_for_status()
            return await answer.json()

    async def until(self, count: int) -> None:
        """Until so many uploads have ended, well or not."""
        async with self.turn:
            await self.turn.wait_for(lambda: len(self.uploads) + len(self.failed) >= count)


@asynccontextmanager
async def clients_of(balancer: Balancer) -> AsyncIterator[Clients]:
    async with aiohttp.ClientSession() as http:
        http._retry_connection = False  # as aiohttp's own test client does it: a lost request shall be seen
        yield Clients(balancer, http)
