"""Live news over server-sent events, on a real Postgres."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from api.auth import Caller, Role
from api.events import STREAMS_OF_ONE
from tests.integration.api.conftest import MEDIA, Door, bearer

DEADLINE = 10.0


class Stream:
    """One open stream, read event by event."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def next(self) -> tuple[str, Any]:
        """The id and the data of the next event; comments are skipped."""
        async with asyncio.timeout(DEADLINE):
            while True:
                block = (await self._answer.content.readuntil(b"\n\n")).decode()
                fields = dict(line.split(": ", 1) for line in block.strip().splitlines() if not line.startswith(":"))
                if "data" in fields:
                    assert fields["event"] == "asset"
                    return fields["id"], json.loads(fields["data"])

    async def until(self, status: str) -> Any:
        while True:
            _, asset = await self.next()
            if asset["status"] == status:
                return asset

    async def end(self) -> None:
        async with asyncio.timeout(DEADLINE):
            await self._answer.content.read()


@asynccontextmanager
async def stream(door: Door, path: str, **headers: str) -> AsyncIterator[Stream]:
    await listening(door)
    async with door.http.get(f"{MEDIA}{path}", headers=bearer("doctor-1") | headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        opened = Stream(answer)
        first = await answer.content.readuntil(b"\n\n")
        assert b": connected" in first
        yield opened


async def listening(door: Door) -> None:
    """Until the listener stands: it connects beside the start of the API."""
    async with asyncio.timeout(DEADLINE):
        while (await door.call("GET", f"{MEDIA}/assets/{UUID(int=0)}/events"))[0] == 503:
            pass  # asking is waiting enough


async def test_one_asset_is_followed_to_its_end(door: Door) -> None:
    slot = await door.announce()
    async with stream(door, f"/assets/{slot['asset_id']}/events") as news:
        assert (await news.next())[1]["status"] == "pending"
        await door.ready(slot["asset_id"])
        assert (await news.until("ready"))["asset_id"] == slot["asset_id"]


async def test_all_of_ones_own_and_nothing_else(door: Door) -> None:
    async with stream(door, "/assets/events") as news:
        await door.announce("doctor-2")
        mine = await door.announce()
        assert (await news.next())[1]["asset_id"] == mine["asset_id"]


async def test_admins_see_everybodys(door: Door) -> None:
    async with stream(door, "/assets/events", **bearer("root", role="admin")) as news:
        for subject in ("doctor-1", "doctor-2"):
            slot = await door.announce(subject)
            assert (await news.next())[1]["asset_id"] == slot["asset_id"]


async def test_a_break_is_caught_up(door: Door) -> None:
    async with stream(door, "/assets/events") as news:
        first = await door.announce()
        event_id, _ = await news.next()
    await door.service.database.execute("UPDATE assets SET updated_at = now() - interval '1 hour'")
    missed = await door.announce()
    async with stream(door, "/assets/events", **{"Last-Event-ID": event_id}) as news:
        assert (await news.next())[1]["asset_id"] == missed["asset_id"]
    assert first["asset_id"] != missed["asset_id"]


@pytest.mark.parametrize("event_id", ["0", "x", "9" * 16, "-1", "9" * 400])
async def test_odd_event_ids_do_no_harm(door: Door, event_id: str) -> None:
    async with stream(door, "/assets/events", **{"Last-Event-ID": event_id}) as news:
        slot = await door.announce()
        assert (await news.next())[1]["asset_id"] == slot["asset_id"]


async def test_a_ticket_opens_a_stream_for_a_minute(door: Door) -> None:
    _, ticket = await door.call("POST", f"{MEDIA}/events/ticket")
    async with stream(door, f"/assets/events?ticket={ticket['ticket']}", Authorization="") as news:
        slot = await door.announce()
        assert (await news.next())[1]["asset_id"] == slot["asset_id"]
    old, _ = door.service.tickets.make(Caller("doctor-1", Role.USER), datetime.now(UTC) - timedelta(seconds=61))
    for refused in (old, ticket["ticket"][:-1] + "A", "x.y", "é"):
        answer = await door.http.get(f"{MEDIA}/assets/events", params={"ticket": refused})
        assert answer.status == 401


async def test_what_is_not_ones_own_cannot_be_followed(door: Door) -> None:
    await listening(door)
    slot = await door.announce("doctor-2")
    assert (await door.call("GET", f"{MEDIA}/assets/{slot['asset_id']}/events"))[0] == 404
    assert (await door.http.get(f"{MEDIA}/assets/events")).status == 401


async def test_streams_are_bounded_and_their_places_given_back(door: Door) -> None:
    await listening(door)
    opened = [await door.http.get(f"{MEDIA}/assets/events", headers=bearer("doctor-1")) for _ in range(STREAMS_OF_ONE)]
    status, problem = await door.call("GET", f"{MEDIA}/assets/events")
    assert (status, problem["code"]) == (429, "too_many_connections")
    async with stream(door, "/assets/events", **bearer("doctor-2")):
        door.service.hub.end()
    for answer in opened:
        await Stream(answer).end()
        answer.close()
    async with stream(door, "/assets/events"):
        pass


async def test_streams_end_when_the_listener_is_lost_and_come_back(door: Door) -> None:
    async with stream(door, "/assets/events") as news:
        await door.service.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'media-changes' AND datname = current_database()"
        )
        await news.end()
    async with stream(door, "/assets/events") as news:
        slot = await door.announce()
        assert (await news.next())[1]["asset_id"] == slot["asset_id"]
