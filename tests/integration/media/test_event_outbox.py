"""Each change of an asset writes its event in the same transaction, numbered, with the asset as it then was."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from media.asset import AssetNote, Stage, Status
from media.asset_store.database import Database as Store
from media.asset_store.database import connect
from media.asset_store.recovery import RESTORED, Recovery, Replays
from media.asset_store.stage_maintenance import StageMaintenance
from media.errors import Code
from media.events.asset_event import EventAsset, asset_event
from media.events.event_outbox import EVENTS_NOTED, LEASE, OVERTAKEN_AFTER, EventOutbox, PendingEvent
from tests.conftest import Database
from tests.fakes.eventbridge import BUS
from tests.integration.media.asset_lives import SCHEMA_URL, AssetLives


@pytest.fixture
async def store(postgres: Database) -> AsyncIterator[Store]:
    async with connect(postgres.dsn) as opened:
        await EventOutbox(opened).set_bus(BUS)
        yield opened


@pytest.fixture
async def lives(store: Store) -> AssetLives:
    return AssetLives(store)


def read(pending: PendingEvent) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(asset_event(pending, SCHEMA_URL))
    return event


async def test_a_life_is_told_without_gaps(lives: AssetLives) -> None:
    asset_id = await lives.ready()
    await lives.assets.delete(asset_id, [])
    assert await lives.waiting() == [
        ("created", 1, None),
        ("uploaded", 2, "pending"),
        ("ready", 3, "processing"),
        ("deleted", 4, "ready"),
    ]


async def test_the_asset_is_frozen_as_the_api_shows_it(lives: AssetLives, store: Store) -> None:
    asset_id = await lives.ready(recording_id="rec-1", webinar_id="web-1", title="Ürology 1")
    await store.execute(
        """UPDATE assets SET external_id = 'post-7', metadata = '{"course": "c-1"}' WHERE asset_id = $1""", asset_id
    )
    asset = await lives.assets.get(asset_id)
    shown = EventAsset.model_validate(asset).model_dump(mode="json")
    await store.execute("DELETE FROM event_outbox WHERE kind <> 'changed'")
    await store.execute("UPDATE assets SET width = 1, updated_at = now() WHERE asset_id = $1", asset_id)
    [pending] = await EventOutbox(store).take(10)
    event = read(pending)
    assert event["data"] == {"previous_status": "ready", "asset": shown}, "it is the asset of the commit"
    assert shown["renditions"] == [
        {"name": "w150", "content_type": "image/webp", "width": 150, "height": 112, "bytes": 9}
    ]
    assert (event["source"], event["subject"]) == (f"/media/assets/{asset_id}", str(asset_id))
    assert (event["type"], event["sequence"]) == ("docfliq.media.asset.changed.v1", f"{4:020}")
    assert UUID(event["id"]) == pending.event_id
    assert pending.event_id.version == 7
    assert datetime.fromisoformat(event["time"]) == pending.created_at
    assert event["time"].endswith("Z")


async def test_renditions_of_the_same_statement_are_in_its_event(lives: AssetLives, store: Store) -> None:
    await lives.ready()
    await store.execute("DELETE FROM event_outbox WHERE kind <> 'ready'")
    [pending] = await EventOutbox(store).take(10)
    [rendition] = pending.asset["renditions"]
    assert rendition["name"] == "w150"


async def test_a_deleted_asset_tells_only_what_identifies_it(lives: AssetLives, store: Store) -> None:
    asset_id = await lives.ready(title="A secret", recording_id="r")
    await lives.assets.delete(asset_id, [])
    await store.execute("DELETE FROM event_outbox WHERE kind <> 'deleted'")
    [pending] = await EventOutbox(store).take(10)
    assert read(pending)["data"]["asset"] == {
        "asset_id": str(asset_id),
        "owner_id": "doctor",
        "asset_type": "image",
        "status": "deleted",
        "recording_id": "r",
        "webinar_id": None,
        "external_id": None,
    }


async def test_what_fails_and_is_replayed_is_told(lives: AssetLives, store: Store) -> None:
    asset_id = await lives.create()
    await lives.upload(asset_id)
    await lives.fail(await lives.scan(asset_id))
    await Replays(store).reopen(asset_id, Stage.IMAGE, "by hand", [])
    await lives.render(await lives.claim(asset_id, Stage.IMAGE))
    assert (await lives.waiting())[2:] == [
        ("failed", 3, "processing"),
        ("changed", 4, "failed"),
        ("ready", 5, "processing"),
    ]


async def test_expired_and_rejected_assets_are_told(lives: AssetLives, store: Store) -> None:
    expired, rejected = await lives.create(), await lives.ready()
    await StageMaintenance(store).expire(expired)
    await Recovery(store).reject(rejected, Code.INFECTED, "found in quarantine")
    assert (await lives.waiting())[-2:] == [("expired", 2, "pending"), ("rejected", 4, "ready")]


async def test_what_is_said_of_an_asset_is_told_and_its_progress_is_not(lives: AssetLives, store: Store) -> None:
    asset_id = await lives.create()
    await lives.upload(asset_id)
    claim = await lives.scan(asset_id)
    await lives.stages.record_progress(claim.fence, 40)
    await lives.render(claim, notes=[AssetNote("cut_short", "It ends at 3 s")])
    for change in ("title = 'new'", "title = 'new'", "event_sequence = event_sequence + 1", "width = 3"):
        await store.execute(f"UPDATE assets SET {change} WHERE asset_id = $1", asset_id)  # noqa: S608 - listed here
    assert [kind for kind, _, _ in await lives.waiting()] == ["created", "uploaded", "ready", "changed", "changed"]


async def test_a_change_that_is_rolled_back_tells_nothing(lives: AssetLives, postgres: Database) -> None:
    asset_id = await lives.create()
    connection = await asyncpg.connect(postgres.dsn)
    change = connection.transaction()
    await change.start()
    await connection.execute("UPDATE assets SET title = 'new' WHERE asset_id = $1", asset_id)
    await change.rollback()
    await connection.close()
    await lives.upload(asset_id)
    assert [sequence for _, sequence, _ in await lives.waiting()] == [1, 2]


async def test_without_a_bus_nothing_is_written_or_counted(lives: AssetLives, store: Store) -> None:
    await EventOutbox(store).set_bus(None)
    asset_id = await lives.ready()
    assert await lives.waiting() == []
    await EventOutbox(store).set_bus("another")
    await lives.assets.delete(asset_id, [])
    assert await lives.waiting() == [("deleted", 1, "ready")]


async def test_the_oldest_event_of_an_asset_goes_first_unless_it_fails_often(lives: AssetLives, store: Store) -> None:
    asset_id = await lives.create()
    await lives.upload(asset_id)
    outbox = EventOutbox(store)
    [first] = await outbox.take(10)
    assert await outbox.take(10) == [], "its second event waits for the first"
    await store.execute("UPDATE event_outbox SET attempts = $1 WHERE sequence = 1", OVERTAKEN_AFTER)
    [second] = await outbox.take(10)
    assert [(event.sequence, event.is_newest) for event in (first, second)] == [(1, False), (2, True)]


async def test_what_a_dead_sender_took_is_due_after_its_lease(lives: AssetLives, store: Store) -> None:
    await lives.create()
    outbox = EventOutbox(store)
    [taken] = await outbox.take(10)
    assert await outbox.take(10) == []
    await store.execute("UPDATE event_outbox SET due_at = due_at - $1::float8 * interval '1 second'", LEASE)
    assert await outbox.take(10) == [taken]


async def test_a_sent_event_is_noted_even_where_its_asset_is_gone(lives: AssetLives, store: Store) -> None:
    outbox = EventOutbox(store)
    kept, purged = await lives.create(), await lives.create()
    events = await outbox.take(10)
    await store.execute("DELETE FROM assets WHERE asset_id = $1", purged)
    await outbox.sent(events)
    assert await lives.waiting() == []
    entry = (await lives.assets.timeline(kept))[-1]
    [event] = [event for event in events if event.asset_id == kept]
    assert (entry.code, entry.detail) == ("event_sent", f"created, sequence 1, {event.event_id}")


async def test_changes_without_end_leave_a_short_timeline(lives: AssetLives, store: Store) -> None:
    outbox, asset_id = EventOutbox(store), await lives.create()
    await outbox.sent(await outbox.take(10))
    for number in range(EVENTS_NOTED):
        await lives.assets.describe(asset_id, {"title": str(number)})
        await outbox.sent(await outbox.take(10))
    await lives.assets.delete(asset_id, [])
    await outbox.sent(await outbox.take(10))
    assert await lives.waiting() == []
    noted = [entry.detail for entry in await lives.assets.timeline(asset_id) if entry.code == "event_sent"]
    assert len(noted) == EVENTS_NOTED + 1
    assert noted[-1].startswith(f"deleted, sequence {EVENTS_NOTED + 2}, ")


async def test_after_a_restore_events_are_above_all_that_was_told(lives: AssetLives, store: Store) -> None:
    ids: list[UUID] = [await lives.create() for _ in range(3)]
    await store.execute("DELETE FROM event_outbox")
    await Recovery(store).raise_event_sequences()
    assert await lives.waiting() == [], "raising is no event"
    await lives.upload(ids[0])
    assert await lives.waiting() == [("uploaded", RESTORED + 2, Status.PENDING)]
    await lives.create()
    assert (await lives.waiting())[-1] == ("created", RESTORED + 1, None), "others may know it, the backup does not"


async def test_an_asset_that_comes_while_its_old_row_goes_has_higher_numbers(
    lives: AssetLives, store: Store, postgres: Database
) -> None:
    asset_id = await lives.ready()
    connection = await asyncpg.connect(postgres.dsn)
    purge = connection.transaction()
    await purge.start()
    await connection.execute("DELETE FROM assets WHERE asset_id = $1", asset_id)
    creating = asyncio.create_task(lives.create(asset_id))
    async with asyncio.timeout(20):
        while not await store.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await purge.commit()
    await creating
    await connection.close()
    assert (await lives.waiting())[-1] == ("created", 4, None)
