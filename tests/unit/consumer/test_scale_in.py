"""The task asks ECS to be left alone while somebody holds its protection, and is never held up by asking."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.scale_in import ScaleInProtection

DEADLINE = 10.0


@dataclass
class Agent:
    """ECS's agent: what it was told, and how it answers."""

    url: str = ""
    status: int = 200
    told: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def answer(self, request: web.Request) -> web.Response:
        self.told.put_nowait(json.loads(await request.read()))
        return web.json_response({"protection": {}} if self.status == 200 else {"error": {}}, status=self.status)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            return await self.told.get()


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    agent = Agent()
    app = web.Application()
    app.router.add_put("/api/task-protection/v1/state", agent.answer)
    async with TestServer(app) as server:
        agent.url = str(server.make_url("/api"))
        yield agent


async def test_protected_while_held_and_not_after(agent: Agent) -> None:
    protection = ScaleInProtection(agent.url)
    async with protection.held():
        assert await agent.next() == {"ProtectionEnabled": True, "ExpiresInMinutes": 60}
    assert await agent.next() == {"ProtectionEnabled": False}
    await protection.settled()


async def test_the_last_one_to_leave_gives_it_up(agent: Agent) -> None:
    protection = ScaleInProtection(agent.url)
    async with protection.held():
        await agent.next()
        async with protection.held():
            assert (await agent.next())["ProtectionEnabled"] is True
        assert (await agent.next())["ProtectionEnabled"] is True
    assert (await agent.next())["ProtectionEnabled"] is False
    await protection.settled()


async def test_it_is_renewed(agent: Agent) -> None:
    protection = ScaleInProtection(agent.url, renewal=0.01)
    async with protection.held():
        assert [(await agent.next())["ProtectionEnabled"] for _ in range(3)] == [True] * 3
    await protection.settled()


async def test_an_agent_that_refuses_or_is_away_changes_nothing(agent: Agent) -> None:
    agent.status = 400
    for url in (agent.url, "http://127.0.0.1:9"):
        protection = ScaleInProtection(url)
        async with protection.held():
            pass
        await protection.settled()


async def test_outside_of_ecs_there_is_nobody_to_tell() -> None:
    protection = ScaleInProtection(None)
    async with protection.held():
        pass
    await protection.settled()
