"""Live news over server-sent events, on a real Postgres."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from api.event_hub import STREAMS_OF_ONE
from api.security.auth import LEEWAY, SUBJECT_LIMIT, Caller, Role
from api.views.events import CATCH_UP_PAGES
from media.asset_store.assets import PAGE_LIMIT
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
                    assert fields["event"] == ("asset" if "id" in fields else "reset")
                    return fields.get("id", ""), json.loads(fields["data"])

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


async def many(door: Door, count: int) -> set[str]:
    """The ids of so many assets of doctor-1, all changed at the same moment."""
    slot = await door.announce()
    rows = await door.service.database.fetch(
        "INSERT INTO assets (asset_id, owner_id, asset_type, delivery, content_type, original_filename, bucket, key)"
        " SELECT gen_random_uuid(), owner_id, asset_type, delivery, content_type, original_filename, bucket, key || n"
        " FROM assets, generate_series(1, $2::int) AS n WHERE asset_id = $1 RETURNING asset_id",
        UUID(slot["asset_id"]),
        count - 1,
    )
    return {slot["asset_id"], *(str(row["asset_id"]) for row in rows)}


async def test_many_changes_are_caught_up_in_order_with_what_changes_meanwhile(door: Door) -> None:
    missed = await many(door, 250)
    async with stream(door, "/assets/events", **{"Last-Event-ID": "1"}) as news:
        told = [await news.next()]
        live = await door.announce()
        while told[-1][1]["asset_id"] != live["asset_id"]:
            told.append(await news.next())
    assert {asset["asset_id"] for _, asset in told} == missed | {live["asset_id"]}
    ids = [int(event_id) for event_id, _ in told]
    assert ids == sorted(ids)


async def test_who_missed_too_much_is_told_to_list_again_and_hears_what_is_new(door: Door) -> None:
    await many(door, PAGE_LIMIT * CATCH_UP_PAGES + 1)
    async with stream(door, "/assets/events", **{"Last-Event-ID": "1"}) as news:
        told = [await news.next() for _ in range(PAGE_LIMIT * CATCH_UP_PAGES)]
        assert all(event_id for event_id, _ in told)
        assert await news.next() == ("", {})
        live = await door.announce()
        assert (await news.next())[1]["asset_id"] == live["asset_id"]


async def test_services_are_told_to_list_again_after_a_break(door: Door) -> None:
    await door.announce()
    headers = bearer("ms-6", role="service") | {"Last-Event-ID": "1"}
    async with stream(door, "/assets/events", **headers) as news:
        assert await news.next() == ("", {})


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
    assert ends_in(ticket["expires_at"]) == pytest.approx(60, abs=5)
    old, _ = door.service.tickets.make(Caller("doctor-1", Role.USER), datetime.now(UTC) - timedelta(seconds=61))
    for refused in (old, ticket["ticket"][:-1] + "A", "x.y", "é"):
        answer = await door.http.get(f"{MEDIA}/assets/events", params={"ticket": refused})
        assert answer.status == 401


async def test_the_longest_subject_gets_in_by_a_ticket_too(door: Door) -> None:
    _, ticket = await door.call("POST", f"{MEDIA}/events/ticket", "ж" * SUBJECT_LIMIT, claims={"role": "service"})
    async with stream(door, f"/assets/events?ticket={ticket['ticket']}", Authorization="") as news:
        slot = await door.announce()
        assert (await news.next())[1]["asset_id"] == slot["asset_id"]


def ends_in(moment: str) -> float:
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()


async def test_a_stream_ends_with_the_token_that_opened_it(door: Door) -> None:
    ending = bearer("doctor-1", exp=int(time.time() - LEEWAY) + 2)
    _, ticket = await door.call("POST", f"{MEDIA}/events/ticket", headers=ending)
    assert ends_in(ticket["expires_at"]) < 2
    by_ticket = stream(door, f"/assets/events?ticket={ticket['ticket']}", Authorization="")
    async with stream(door, "/assets/events", **ending) as first, by_ticket as second:
        await first.end()
        await second.end()
    assert (await door.call("GET", f"{MEDIA}/assets/events", headers=ending))[0] == 401


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


async def test_the_places_of_closed_streams_are_free_at_once(door: Door) -> None:
    await listening(door)
    for _ in range(3):
        opened = [
            await door.http.get(f"{MEDIA}/assets/events", headers=bearer("doctor-1")) for _ in range(STREAMS_OF_ONE)
        ]
        assert (await door.call("GET", f"{MEDIA}/assets/events"))[0] == 429
        for answer in opened:
            answer.close()
        await room_for_one_more(door)


async def room_for_one_more(door: Door) -> None:
    """Until a stream is let in: within less than a heartbeat, which would find the closed ones anyway."""
    async with asyncio.timeout(DEADLINE):
        while True:  # asking is waiting enough
            async with door.http.get(f"{MEDIA}/assets/events", headers=bearer("doctor-1")) as answer:
                if answer.status == 200:
                    return


async def test_streams_that_nobody_reads_keep_their_places_until_their_connections_are_cut(
    open_door: Callable[..., AbstractAsyncContextManager[Door]],
) -> None:
    async with open_door(api_send_timeout=2.0) as door:
        await many(door, PAGE_LIMIT * CATCH_UP_PAGES)
        await listening(door)
        deaf = [await never_reading(door, "/assets/events?last_event_id=1") for _ in range(STREAMS_OF_ONE)]
        await until(door, "media_event_streams", STREAMS_OF_ONE)
        assert (await door.call("GET", f"{MEDIA}/assets/events"))[0] == 429
        await room_for_one_more(door)
        assert counted(door, "media_http_connections_cut_total", reason="stuck") >= 1
        await until(door, "media_event_streams", 0)
        await until(door, "media_http_connections", 1)  # the one that asks
        for client in deaf:
            client.close()


async def never_reading(door: Door, path: str) -> socket.socket:
    """A client that has asked for a stream and reads nothing of it."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    await loop.sock_connect(client, (door.http.host, door.http.port))
    headers = "".join(f"{name}: {value}\r\n" for name, value in bearer("doctor-1").items())
    await loop.sock_sendall(client, f"GET {MEDIA}{path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    return client


def counted(door: Door, name: str, **labels: str) -> float:
    return door.service.metrics.registry.get_sample_value(name, labels) or 0.0


async def until(door: Door, name: str, value: float) -> None:
    async with asyncio.timeout(DEADLINE):
        while counted(door, name) != value:
            await door.call("GET", "/livez")  # asking is waiting enough


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
