"""EventBridge's PutEvents and DescribeEventBus over HTTP, which refuse what AWS refuses and fail when told to."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import web
from aiohttp.test_utils import TestServer

BUS = "test-media-events"
MOST_ENTRIES = 10
MOST_BYTES = 1_000_000


@dataclass
class FakeEventBridge:
    """One bus: the details that it took, in order. `fails` and `drops` are shares of calls and of entries, 0 to 1."""

    events: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0
    fails: float = 0.0
    drops: float = 0.0
    is_away: bool = False
    has_bus: bool = True
    url: str = ""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    chance: random.Random = field(default_factory=lambda: random.Random(21))  # noqa: S311 - a test's choice

    async def answer(self, request: web.Request) -> web.Response:
        if self.is_away:
            return _error(503, "InternalFailure")
        body = await request.json()
        if request.headers["X-Amz-Target"] == "AWSEvents.DescribeEventBus":
            if not self.has_bus or body["Name"] != BUS:
                return _error(400, "ResourceNotFoundException")
            return _json({"Name": BUS, "Arn": f"arn:aws:events:eu-central-1:000000000000:event-bus/{BUS}"})
        self.calls += 1
        entries = body["Entries"]
        sizes = [
            14 + sum(len(entry[name].encode()) for name in ("Source", "DetailType", "Detail")) for entry in entries
        ]
        if not 1 <= len(entries) <= MOST_ENTRIES or sum(sizes) >= MOST_BYTES:
            return _error(400, "ValidationException")
        if self.chance.random() < self.fails:
            return _error(500, "InternalFailure")
        results = [self.take(entry) for entry in entries]
        self.came.set()
        return _json({"FailedEntryCount": sum("ErrorCode" in result for result in results), "Entries": results})

    def take(self, entry: dict[str, Any]) -> dict[str, str]:
        """Take one entry, or say why not."""
        if entry["EventBusName"] != BUS or not self.has_bus:
            return {"EventId": str(uuid4())}  # AWS drops it, and does not say so
        if self.chance.random() < self.drops:
            return {"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"}
        if len(entry["DetailType"]) > 128 or entry["Source"].startswith("aws."):
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": "a name"}
        try:
            detail = json.loads(entry["Detail"])
        except ValueError:
            detail = None
        if not isinstance(detail, dict):
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        self.events.append(detail)
        self.entries.append(entry)
        return {"EventId": str(uuid4())}

    async def until(self, count: int, *, deadline: float = 60.0) -> None:
        """Wait until the bus has taken as many events. Raises TimeoutError after `deadline` seconds."""
        async with asyncio.timeout(deadline):
            while len(self.events) < count:
                self.came.clear()
                await self.came.wait()


def _json(body: Any) -> web.Response:
    return web.Response(text=json.dumps(body), content_type="application/x-amz-json-1.1")


def _error(status: int, code: str) -> web.Response:
    body = json.dumps({"__type": code, "message": code})
    return web.Response(status=status, text=body, content_type="application/x-amz-json-1.1")


@asynccontextmanager
async def running_eventbridge(fake: FakeEventBridge | None = None) -> AsyncIterator[FakeEventBridge]:
    fake = fake or FakeEventBridge()
    app = web.Application(client_max_size=4 * MOST_BYTES)
    app.router.add_post("/", fake.answer)
    async with TestServer(app) as server:
        fake.url = str(server.make_url("")).rstrip("/")
        yield fake
