"""The task asks ECS to be left alone while somebody holds its protection, and is never held up by asking."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.ecs_protection import ScaleInProtection

DEADLINE = 10.0


@dataclass
class Agent:
    """ECS's agent: what it was told, and how it answers; `says` are odd answers that come first."""

    url: str = ""
    status: int = 200
    says: list[str] = field(default_factory=list)
    told: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def answer(self, request: web.Request) -> web.Response:
        self.told.put_nowait(json.loads(await request.read()))
        if self.says:
            return web.Response(text=self.says.pop(0), content_type="application/json")
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


ODD = ["null", "7", "[]", '"protection"', "no JSON", "{}"]


async def test_what_is_not_taken_is_told_again_soon(agent: Agent) -> None:
    """Whatever the agent answers: to be protected 20 minutes later would be too late."""
    agent.says = ODD.copy()
    protection = ScaleInProtection(agent.url, retries=[0.01] * len(ODD))
    async with protection.held():
        assert [(await agent.next())["ProtectionEnabled"] for _ in range(len(ODD) + 1)] == [True] * (len(ODD) + 1)
        agent.says = ODD.copy()
    assert [(await agent.next())["ProtectionEnabled"] for _ in range(len(ODD) + 1)] == [False] * (len(ODD) + 1)
    await protection.settled()
    assert agent.told.empty(), "once it was taken, nothing more is said"


async def test_an_agent_that_never_takes_it_is_left_alone_in_the_end(agent: Agent) -> None:
    agent.status = 500
    protection = ScaleInProtection(agent.url, retries=[0.01] * 3)
    async with protection.held():
        assert [(await agent.next())["ProtectionEnabled"] for _ in range(4)] == [True] * 4
    assert [(await agent.next())["ProtectionEnabled"] for _ in range(4)] == [False] * 4
    await protection.settled()
    assert agent.told.empty()


async def test_who_comes_while_it_is_told_again_is_protected(agent: Agent) -> None:
    agent.status = 500
    protection = ScaleInProtection(agent.url, retries=[30.0])
    async with protection.held():
        assert (await agent.next())["ProtectionEnabled"] is True
    assert (await agent.next())["ProtectionEnabled"] is False
    agent.status = 200
    async with protection.held():
        assert (await agent.next())["ProtectionEnabled"] is True
    assert (await agent.next())["ProtectionEnabled"] is False
    await protection.settled()


async def test_an_agent_that_refuses_or_is_away_changes_nothing(agent: Agent) -> None:
    agent.status = 400
    for url in (agent.url, "http://127.0.0.1:9"):
        protection = ScaleInProtection(url, retries=[0.01])
        async with protection.held():
            pass
        await protection.settled()


async def test_outside_of_ecs_there_is_nobody_to_tell() -> None:
    protection = ScaleInProtection(None)
    async with protection.held():
        pass
    await protection.settled()
