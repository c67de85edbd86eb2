"""A load balancer, and clients behind it that record every request that fails."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp

from deploy.local import tokens
from tests.faults.proxied_services import JWT_SECRET, Daemon
from tests.faults.sample_uploads import Kind, Upload

PROBE_PAUSE = 0.2
"""Seconds between two health checks of a target. edge.yaml's balancer takes ten; ECS also announces a stop to it."""
LOOK_PAUSE = 0.1
"""Seconds between two requests of a client for the status of its upload."""
UNFINISHED = {"pending", "uploaded", "scanning", "processing"}
READY = 30.0
"""Seconds until a process is ready."""
ENDS_WITHIN = 60.0
"""Seconds for one upload, from its announcement to its end."""


@dataclass(slots=True)
class LoadBalancer:
    """Round robin over the targets whose /readyz says so, as edge.yaml's learns from ECS that one stops."""

    targets: list[Daemon] = field(default_factory=list)
    ready: set[str] = field(default_factory=set)
    _turn: Iterator[int] = field(default_factory=itertools.count)

    async def watch(self) -> None:
        """Check all targets until canceled."""
        while True:
            for target in list(self.targets):
                await self.check(target)
            await asyncio.sleep(PROBE_PAUSE)

    async def check(self, target: Daemon) -> bool:
        """Check whether a target is ready, and remember it."""
        found = await target.get("readyz") == 200
        (self.ready.add if found else self.ready.discard)(target.url)
        return found

    def next(self) -> str:
        """Return the next URL. Raises LookupError when no target is ready: a client would see 503."""
        urls = [target.url for target in self.targets if target.url in self.ready]
        if not urls:
            raise LookupError("no target is ready")
        return urls[next(self._turn) % len(urls)]


@asynccontextmanager
async def load_balancer(*targets: Daemon) -> AsyncIterator[LoadBalancer]:
    balancer = LoadBalancer(list(targets))
    running_prometheus = asyncio.create_task(balancer.watch())
    try:
        yield balancer
    finally:
        running_prometheus.cancel()
        await asyncio.gather(running_prometheus, return_exceptions=True)


async def wait_until_ready(daemon: Daemon) -> None:
    async with asyncio.timeout(READY):
        while await daemon.get("readyz") != 200:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.05)


async def stop(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended() == 0, daemon.log.read_text()[-4000:]


async def replace_api(balancer: LoadBalancer, new: Daemon) -> None:
    """Replace an API as ECS does: the new one gets requests before the old one is stopped."""
    old = balancer.targets[0]
    await new.start()
    balancer.targets.append(new)
    await wait_until_ready(new)
    await balancer.check(new)
    await stop(old)
    balancer.targets.remove(old)


async def replace_consumer(old: Daemon, new: Daemon) -> None:
    await new.start()
    await wait_until_ready(new)
    await stop(old)


@dataclass(slots=True)
class UploadClients:
    """Clients that upload. No request is repeated, not even by the HTTP client."""

    balancer: LoadBalancer
    http: aiohttp.ClientSession
    uploads: list[Upload] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    requests: int = 0
    turn: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def upload(self, kind: Kind) -> None:
        """Announce an upload, PUT it and wait for its end. A failure is recorded in `failed`."""
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
        announced = await self._api("POST", "/upload", asked)
        async with self.http.put(announced["upload_url"], data=kind.content, headers=announced["headers"]) as answer:
            answer.raise_for_status()
        path = f"/assets/{announced['asset_id']}"
        while (await self._api("GET", path))["status"] in UNFINISHED:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(LOOK_PAUSE)
        self.uploads.append(Upload(UUID(announced["asset_id"]), kind, {}))

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
        """Wait until so many uploads have ended, or failed."""
        async with self.turn:
            await self.turn.wait_for(lambda: len(self.uploads) + len(self.failed) >= count)


@asynccontextmanager
async def upload_clients(balancer: LoadBalancer) -> AsyncIterator[UploadClients]:
    async with aiohttp.ClientSession() as http:
        http._retry_connection = False  # as in aiohttp's own test client: a lost request must be noticed
        yield UploadClients(balancer, http)
