"""Live changes over server-sent events, on a real Postgres."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.event_hub import STREAMS_OF_ONE
from api.security.auth import LEEWAY, SUBJECT_LIMIT, Caller, Role
from api.views.events import CATCH_UP_PAGES
from media.asset_store.changes import ChangeFeed, Watched
from media.asset_store.listing import PAGE_LIMIT
from tests.conftest import Database
from tests.integration.api.conftest import MEDIA, RunningApi, bearer

DEADLINE = 10.0


class Stream:
    """One open stream, read event by event."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def next(self) -> tuple[str, Any]:
        """Return the id and the data of the next event. Comments are skipped."""
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
async def stream(api: RunningApi, path: str, **headers: str) -> AsyncIterator[Stream]:
    await wait_for_listener(api)
    async with api.http.get(f"{MEDIA}{path}", headers=bearer("doctor-1") | headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        opened = Stream(answer)
        first = await answer.content.readuntil(b"\n\n")
        assert b": connected" in first
        yield opened


async def wait_for_listener(api: RunningApi) -> None:
    """Wait until the listener is connected. It connects while the API starts."""
    async with asyncio.timeout(DEADLINE):
        while (await api.call("GET", f"{MEDIA}/assets/{UUID(int=0)}/events"))[0] == 503:
            pass  # each request lets the loop run


async def test_stream_of_one_asset_follows_it_until_it_is_ready(api: RunningApi) -> None:
    slot = await api.announce()
    async with stream(api, f"/assets/{slot['asset_id']}/events") as events:
        assert (await events.next())[1]["status"] == "pending"
        await api.ready(slot["asset_id"])
        assert (await events.until("ready"))["asset_id"] == slot["asset_id"]


async def test_stream_has_only_the_callers_assets(api: RunningApi) -> None:
    async with stream(api, "/assets/events") as events:
        await api.announce("doctor-2")
        mine = await api.announce()
        assert (await events.next())[1]["asset_id"] == mine["asset_id"]


async def test_stream_of_an_admin_has_all_assets(api: RunningApi) -> None:
    async with stream(api, "/assets/events", **bearer("root", role="admin")) as events:
        for subject in ("doctor-1", "doctor-2"):
            slot = await api.announce(subject)
            assert (await events.next())[1]["asset_id"] == slot["asset_id"]


async def test_stream_catches_up_after_a_break(api: RunningApi) -> None:
    async with stream(api, "/assets/events") as events:
        first = await api.announce()
        event_id, _ = await events.next()
    await api.service.database.execute("UPDATE assets SET updated_at = now() - interval '1 hour'")
    missed = await api.announce()
    async with stream(api, "/assets/events", **{"Last-Event-ID": event_id}) as events:
        assert (await events.next())[1]["asset_id"] == missed["asset_id"]
    assert first["asset_id"] != missed["asset_id"]


async def create_many(api: RunningApi, count: int) -> set[str]:
    """Create assets of doctor-1, all changed at the same moment. Return their ids."""
    slot = await api.announce()
    rows = await api.service.database.fetch(
        "INSERT INTO assets (asset_id, owner_id, asset_type, delivery, content_type, original_filename, bucket, key)"
        " SELECT gen_random_uuid(), owner_id, asset_type, delivery, content_type, original_filename, bucket, key || n"
        " FROM assets, generate_series(1, $2::int) AS n WHERE asset_id = $1 RETURNING asset_id",
        UUID(slot["asset_id"]),
        count - 1,
    )
    return {slot["asset_id"], *(str(row["asset_id"]) for row in rows)}


async def test_many_changes_are_caught_up_in_order_with_live_changes(api: RunningApi) -> None:
    missed = await create_many(api, 250)
    async with stream(api, "/assets/events", **{"Last-Event-ID": "1"}) as events:
        received = [await events.next()]
        live = await api.announce()
        while received[-1][1]["asset_id"] != live["asset_id"]:
            received.append(await events.next())
    assert {asset["asset_id"] for _, asset in received} == missed | {live["asset_id"]}
    ids = [int(event_id) for event_id, _ in received]
    assert ids == sorted(ids)


async def test_client_that_missed_too_much_gets_a_reset_and_then_live_changes(api: RunningApi) -> None:
    await create_many(api, PAGE_LIMIT * CATCH_UP_PAGES + 1)
    async with stream(api, "/assets/events", **{"Last-Event-ID": "1"}) as events:
        received = [await events.next() for _ in range(PAGE_LIMIT * CATCH_UP_PAGES)]
        assert all(event_id for event_id, _ in received)
        assert await events.next() == ("", {})
        live = await api.announce()
        assert (await events.next())[1]["asset_id"] == live["asset_id"]


async def test_services_get_a_reset_after_a_break(api: RunningApi) -> None:
    await api.announce()
    headers = bearer("ms-6", role="service") | {"Last-Event-ID": "1"}
    async with stream(api, "/assets/events", **headers) as events:
        assert await events.next() == ("", {})


@pytest.mark.parametrize("event_id", ["0", "x", "9" * 16, "-1", "9" * 400])
async def test_malformed_event_ids_are_ignored(api: RunningApi, event_id: str) -> None:
    async with stream(api, "/assets/events", **{"Last-Event-ID": event_id}) as events:
        slot = await api.announce()
        assert (await events.next())[1]["asset_id"] == slot["asset_id"]


async def test_a_ticket_opens_a_stream_for_a_minute(api: RunningApi) -> None:
    _, ticket = await api.call("POST", f"{MEDIA}/events/ticket")
    async with stream(api, f"/assets/events?ticket={ticket['ticket']}", Authorization="") as events:
        slot = await api.announce()
        assert (await events.next())[1]["asset_id"] == slot["asset_id"]
    assert ends_in(ticket["expires_at"]) == pytest.approx(60, abs=5)
    old, _ = api.service.tickets.make(Caller("doctor-1", Role.USER), datetime.now(UTC) - timedelta(seconds=61))
    whole = ticket["ticket"]
    forged = whole[:-5] + ("A" if whole[-5] != "A" else "B") + whole[-4:]  # the last character has unused bits
    for refused in (old, forged, "x.y", "é"):
        answer = await api.http.get(f"{MEDIA}/assets/events", params={"ticket": refused})
        assert answer.status == 401


async def test_longest_subject_fits_into_a_ticket(api: RunningApi) -> None:
    _, ticket = await api.call("POST", f"{MEDIA}/events/ticket", "ж" * SUBJECT_LIMIT, claims={"role": "service"})
    async with stream(api, f"/assets/events?ticket={ticket['ticket']}", Authorization="") as events:
        slot = await api.announce()
        assert (await events.next())[1]["asset_id"] == slot["asset_id"]


def ends_in(moment: str) -> float:
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()


async def test_a_stream_ends_with_the_token_that_opened_it(api: RunningApi) -> None:
    ending = bearer("doctor-1", exp=int(time.time() - LEEWAY) + 2)
    _, ticket = await api.call("POST", f"{MEDIA}/events/ticket", headers=ending)
    assert ends_in(ticket["expires_at"]) < 2
    by_ticket = stream(api, f"/assets/events?ticket={ticket['ticket']}", Authorization="")
    async with stream(api, "/assets/events", **ending) as first, by_ticket as second:
        await first.end()
        await second.end()
    assert (await api.call("GET", f"{MEDIA}/assets/events", headers=ending))[0] == 401


async def test_assets_of_others_cannot_be_streamed(api: RunningApi) -> None:
    await wait_for_listener(api)
    slot = await api.announce("doctor-2")
    assert (await api.call("GET", f"{MEDIA}/assets/{slot['asset_id']}/events"))[0] == 404
    assert (await api.http.get(f"{MEDIA}/assets/events")).status == 401


async def test_number_of_streams_is_limited_and_slots_are_released(api: RunningApi) -> None:
    await wait_for_listener(api)
    opened = [await api.http.get(f"{MEDIA}/assets/events", headers=bearer("doctor-1")) for _ in range(STREAMS_OF_ONE)]
    status, problem = await api.call("GET", f"{MEDIA}/assets/events")
    assert (status, problem["code"]) == (429, "too_many_connections")
    async with stream(api, "/assets/events", **bearer("doctor-2")):
        api.service.hub.end()
    for answer in opened:
        await Stream(answer).end()
        answer.close()
    async with stream(api, "/assets/events"):
        pass


async def test_slots_of_closed_streams_are_released_at_once(api: RunningApi) -> None:
    await wait_for_listener(api)
    for _ in range(3):
        opened = [
            await api.http.get(f"{MEDIA}/assets/events", headers=bearer("doctor-1")) for _ in range(STREAMS_OF_ONE)
        ]
        assert (await api.call("GET", f"{MEDIA}/assets/events"))[0] == 429
        for answer in opened:
            answer.close()
        await wait_for_free_slot(api)


async def wait_for_free_slot(api: RunningApi) -> None:
    """Wait until a stream is accepted, for less than a heartbeat, which would find the closed ones anyway."""
    async with asyncio.timeout(DEADLINE):
        while True:  # each request lets the loop run
            async with api.http.get(f"{MEDIA}/assets/events", headers=bearer("doctor-1")) as answer:
                if answer.status == 200:
                    return


async def test_unread_streams_count_until_their_connections_are_cut(
    start_api: Callable[..., AbstractAsyncContextManager[RunningApi]],
) -> None:
    async with start_api(api_send_timeout=2.0) as api:
        await create_many(api, PAGE_LIMIT * CATCH_UP_PAGES)
        await wait_for_listener(api)
        unread = [await open_unread_stream(api, "/assets/events?last_event_id=1") for _ in range(STREAMS_OF_ONE)]
        await wait_for_sample(api, "media_event_streams", STREAMS_OF_ONE)
        assert (await api.call("GET", f"{MEDIA}/assets/events"))[0] == 429
        await wait_for_free_slot(api)
        assert sample(api, "media_http_connections_cut_total", reason="stuck") >= 1
        await wait_for_sample(api, "media_event_streams", 0)
        await wait_for_sample(api, "media_http_connections", 1)  # the one of this test
        for client in unread:
            client.close()


async def open_unread_stream(api: RunningApi, path: str) -> socket.socket:
    """Open a stream whose client reads nothing."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    await loop.sock_connect(client, (api.http.host, api.http.port))
    headers = "".join(f"{name}: {value}\r\n" for name, value in bearer("doctor-1").items())
    await loop.sock_sendall(client, f"GET {MEDIA}{path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    return client


def sample(api: RunningApi, name: str, **labels: str) -> float:
    return api.service.metrics.registry.get_sample_value(name, labels) or 0.0


async def wait_for_sample(api: RunningApi, name: str, value: float) -> None:
    async with asyncio.timeout(DEADLINE):
        while sample(api, name) != value:
            await api.call("GET", "/livez")  # each request lets the loop run


async def test_a_short_outage_loses_no_change(api: RunningApi) -> None:
    async with stream(api, "/assets/events") as events:
        await api.service.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'media-events' AND datname = current_database()"
        )
        slot = await api.announce()
        assert (await events.next())[1]["asset_id"] == slot["asset_id"]


async def test_an_old_transaction_delays_its_own_changes_only(api: RunningApi, postgres: Database) -> None:
    slow = await asyncpg.connect(postgres.dsn)
    transaction = slow.transaction()
    late = await api.announce()
    async with stream(api, "/assets/events", **bearer("root", role="admin")) as events:
        await transaction.start()
        await slow.execute("UPDATE assets SET progress = 1 WHERE asset_id = $1", UUID(late["asset_id"]))
        slot = await api.announce()
        while (await events.next())[1]["asset_id"] != slot["asset_id"]:
            pass
        await transaction.commit()
        while (await events.next())[1]["progress"] != 1:
            pass
    await slow.close()


async def test_only_changes_of_what_is_watched_are_told(api: RunningApi) -> None:
    told: list[tuple[str, str]] = []
    first, other, _ = [await api.announce(f"doctor-{number}") for number in (1, 2, 3)]
    watched = Watched([UUID(first["asset_id"])], ["doctor-2"])
    feed = ChangeFeed(
        api.service.database, lambda: watched, lambda *one: told.append((str(one[0]), one[1])), lambda _: None
    )
    await feed.poll()
    await api.service.database.execute("UPDATE assets SET progress = 1")
    await feed.poll()
    assert sorted(told) == sorted([(first["asset_id"], "doctor-1"), (other["asset_id"], "doctor-2")])


async def test_streams_get_a_reset_when_changes_were_lost(api: RunningApi) -> None:
    """A crash of Postgres empties its unlogged tables."""
    async with stream(api, "/assets/events") as events:
        await api.service.database.execute("TRUNCATE changes, change_feed")
        assert await events.next() == ("", {})
        await events.end()
    async with stream(api, "/assets/events") as events:
        slot = await api.announce()
        assert (await events.next())[1]["asset_id"] == slot["asset_id"]
