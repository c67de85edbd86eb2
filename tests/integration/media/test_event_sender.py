"""Events reach the bus once it takes them: in batches, again where it refused, soon where all is well."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from consumer.maintenance import event_sender
from media.asset_store.database import Database as Store
from media.asset_store.database import connect
from media.events.event_outbox import EventOutbox
from tests.conftest import Database
from tests.fakes.eventbridge import BUS, FakeEventBridge, running_eventbridge
from tests.fakes.workers import until
from tests.integration.media.asset_lives import AssetLives, sending


@dataclass
class Told:
    """A database with a bus, which nobody sends to yet."""

    store: Store
    lives: AssetLives
    fake: FakeEventBridge

    def sequences(self) -> dict[str, list[int]]:
        """Return the sequences that the bus took, by asset, in their order."""
        found: dict[str, list[int]] = {}
        for event in self.fake.events:
            found.setdefault(event["subject"], []).append(int(event["sequence"]))
        return found


@pytest.fixture
async def told(postgres: Database) -> AsyncIterator[Told]:
    async with connect(postgres.dsn) as store, running_eventbridge() as fake:
        await EventOutbox(store).set_bus(BUS)
        yield Told(store, AssetLives(store), fake)


async def test_events_are_sent_in_order_and_noted(told: Told) -> None:
    ids = [await told.lives.ready() for _ in range(5)]
    async with sending(told.store, told.fake) as daemon:
        await told.fake.until(15)
        await until(lambda: daemon.metric("events_sent_total", kind="ready") == 5)
    assert told.sequences() == {str(asset_id): [1, 2, 3] for asset_id in ids}
    assert told.fake.calls == 3, "five assets, of which each call has the oldest event"
    assert await told.lives.waiting() == []
    codes = [entry.code for entry in await told.lives.assets.timeline(ids[0])]
    assert codes.count("event_sent") == 3
    first = told.fake.entries[0]
    assert (first["Source"], first["DetailType"]) == ("docfliq.media", "Media Asset Created")
    assert told.fake.events[0]["dataschema"] == "https://media.example/schema"


async def test_only_what_waits_already_is_sent_without_a_pause(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for each event that is committed by itself would cost more than it is worth."""
    monkeypatch.setattr(event_sender, "POLL_INTERVAL", 3600)
    asset_id = await told.lives.ready()
    async with sending(told.store, told.fake) as daemon:
        await told.fake.until(3)
        await told.lives.create()
        assert not await daemon.sender.look(), "there may be more after a pause"
    assert told.fake.calls == 4
    assert told.sequences()[str(asset_id)] == [1, 2, 3]


async def test_refused_entries_alone_are_sent_again(told: Told) -> None:
    told.fake.drops = 0.3
    ids = [await told.lives.create() for _ in range(40)]
    async with sending(told.store, told.fake) as daemon:
        await told.fake.until(40)
        await until(lambda: daemon.metric("events_sent_total", kind="created") == 40)
        assert daemon.metric("events_failed_total") > 0
    assert sorted(event["subject"] for event in told.fake.events) == sorted(map(str, ids)), "each once"


async def test_what_waited_for_a_bus_that_was_away_is_sent(told: Told) -> None:
    told.fake.is_away = True
    async with sending(told.store, told.fake) as daemon:
        await told.lives.ready()
        await until(lambda: daemon.metric("circuit_open", dependency="eventbridge") == 1)
        assert not daemon.sender.health.keeps_failing, "the daemon itself is well"
        told.fake.is_away = False
        await told.fake.until(3)
    assert [*told.sequences().values()] == [[1, 2, 3]]


async def test_nothing_is_sent_to_a_bus_that_is_not_there(told: Told) -> None:
    told.fake.has_bus = False
    await told.lives.create()
    async with sending(told.store, told.fake) as daemon:
        await until(lambda: daemon.metric("circuit_open", dependency="eventbridge") == 1)
        assert told.fake.calls == 0
        assert await told.lives.waiting() == [("created", 1, None)]
        told.fake.has_bus = True
        await told.fake.until(1)


async def test_an_event_that_cannot_be_written_holds_up_no_other(told: Told) -> None:
    odd, sound = await told.lives.create(), await told.lives.create()
    await told.store.execute("UPDATE event_outbox SET asset = '{}' WHERE asset_id = $1", odd)
    await told.lives.upload(odd)
    async with sending(told.store, told.fake):
        await told.fake.until(1)
        await told.store.execute("UPDATE event_outbox SET attempts = 8 WHERE asset_id = $1 AND sequence = 1", odd)
        await told.fake.until(2)
    assert told.sequences() == {str(sound): [1], str(odd): [2]}
    assert (await told.lives.waiting())[0] == ("created", 1, None), "it stays, and is told of"


async def test_a_kind_of_a_newer_release_is_sent_like_any_other(told: Told) -> None:
    asset_id = await told.lives.create()
    await told.store.execute("UPDATE event_outbox SET kind = 'annotated'")
    async with sending(told.store, told.fake):
        await told.fake.until(1)
    assert told.fake.entries[0]["DetailType"] == "Media Asset Annotated"
    assert told.sequences() == {str(asset_id): [1]}


async def test_two_senders_share_the_work(told: Told) -> None:
    ids = [await told.lives.ready() for _ in range(20)]
    async with sending(told.store, told.fake), sending(told.store, told.fake):
        await told.fake.until(60)
    assert told.sequences() == {str(asset_id): [1, 2, 3] for asset_id in ids}
