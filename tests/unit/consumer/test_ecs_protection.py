"""The task asks ECS for protection while it is held, and never waits for the answer."""

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
    """ECS's agent: the requests it got, and how it answers. `odd_answers` come first."""

    url: str = ""
    status: int = 200
    odd_answers: list[str] = field(default_factory=list)
    requests: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.put_nowait(json.loads(await request.read()))
        if self.odd_answers:
            return web.Response(text=self.odd_answers.pop(0), content_type="application/json")
        return web.json_response({"protection": {}} if self.status == 200 else {"error": {}}, status=self.status)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            return await self.requests.get()


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    agent = Agent()
    app = web.Application()
    app.router.add_put("/api/task-protection/v1/state", agent.answer)
    async with TestServer(app) as server:
        agent.url = str(server.make_url("/api"))
        yield agent


async def test_the_task_is_protected_while_held_and_not_after(agent: Agent) -> None:
    protection = ScaleInProtection(agent.url)
    async with protection.held():
        assert await agent.next() == {"ProtectionEnabled": True, "ExpiresInMinutes": 60}
    assert await agent.next() == {"ProtectionEnabled": False}
    await protection.settled()


async def test_the_last_holder_ends_the_protection(agent: Agent) -> None:
    protection = ScaleInProtection(agent.url)
    async with protection.held():
        await agent.next()
        async with protection.held():
            assert (await agent.next())["ProtectionEnabled"] is True
        assert (await agent.next())["ProtectionEnabled"] is True
    assert (await agent.next())["ProtectionEnabled"] is False
    await protection.settled()


async def test_the_protection_is_renewed(agent: Agent) -> None:
    protection = ScaleInProtection(agent.url, renewal=0.01)
    async with protection.held():
        assert [(await agent.next())["ProtectionEnabled"] for _ in range(3)] == [True] * 3
    await protection.settled()


ODD = ["null", "7", "[]", '"protection"', "no JSON", "{}"]


async def test_a_request_that_is_not_accepted_is_repeated_soon(agent: Agent) -> None:
    """Whatever the agent answers: to be protected 20 minutes later would be too late."""
    agent.odd_answers = ODD.copy()
    protection = ScaleInProtection(agent.url, retries=[0.01] * len(ODD))
    async with protection.held():
        assert [(await agent.next())["ProtectionEnabled"] for _ in range(len(ODD) + 1)] == [True] * (len(ODD) + 1)
        agent.odd_answers = ODD.copy()
    assert [(await agent.next())["ProtectionEnabled"] for _ in range(len(ODD) + 1)] == [False] * (len(ODD) + 1)
    await protection.settled()
    assert agent.requests.empty(), "once it was accepted, nothing more is sent"


async def test_repetitions_end_when_the_agent_never_accepts(agent: Agent) -> None:
    agent.status = 500
    protection = ScaleInProtection(agent.url, retries=[0.01] * 3)
    async with protection.held():
        assert [(await agent.next())["ProtectionEnabled"] for _ in range(4)] == [True] * 4
    assert [(await agent.next())["ProtectionEnabled"] for _ in range(4)] == [False] * 4
    await protection.settled()
    assert agent.requests.empty()


async def test_a_holder_that_comes_during_repetitions_is_protected(agent: Agent) -> None:
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


async def test_outside_of_ecs_nothing_is_sent() -> None:
    protection = ScaleInProtection(None)
    async with protection.held():
        pass
    await protection.settled()
