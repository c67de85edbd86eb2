"""Senders of events are killed, and the bus fails and is away: no event is lost, few are sent twice."""

import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from media.asset_store.database import Database as Store
from media.asset_store.database import connect
from media.events.event_outbox import EventOutbox
from tests.conftest import Database
from tests.fakes.eventbridge import BUS, FakeEventBridge, running_eventbridge
from tests.integration.media.asset_lives import AssetLives

ROOT = Path(__file__).parents[2]
DEADLINE = 2400.0


@dataclass
class Reader:
    """A consumer of the documented kind: the largest sequence of an asset wins."""

    known: dict[str, tuple[str, str]] = field(default_factory=dict)
    stale: int = 0

    def read(self, event: dict[str, Any]) -> None:
        sequence, _ = self.known.get(event["subject"], ("", ""))
        if event["sequence"] > sequence:
            self.known[event["subject"]] = (event["sequence"], event["data"]["asset"]["status"])
        else:
            self.stale += 1


class Senders:
    """Two processes that send. One of them is killed from time to time, and another takes its place."""

    def __init__(self, dsn: str, url: str) -> None:
        self._arguments = (sys.executable, "-m", "tests.fakes.event_sender_process", dsn, url)
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        self._running.append(await asyncio.create_subprocess_exec(*self._arguments, cwd=ROOT))

    async def kill_one(self) -> None:
        victim = self._running.pop(0)
        assert victim.returncode is None, "it goes on for ever"
        victim.kill()
        await victim.wait()

    async def kill_all(self) -> None:
        while self._running:
            await self.kill_one()


async def live(lives: AssetLives, count: int) -> None:
    """Take assets to their end, and a third of them to deletion, ten at once."""

    async def one(number: int) -> None:
        asset_id = await lives.ready()
        if number % 3 == 0:
            await lives.assets.delete(asset_id, [])

    for first in range(0, count, 10):
        await asyncio.gather(*(one(number) for number in range(first, min(first + 10, count))))


async def all_sent(store: Store) -> None:
    async with asyncio.timeout(DEADLINE):
        while await store.fetchval("SELECT EXISTS (SELECT FROM event_outbox)"):  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.2)


async def away_for(fake: FakeEventBridge, after: int, seconds: float) -> None:
    await fake.until(after, deadline=DEADLINE)
    fake.is_away = True
    await asyncio.sleep(seconds)
    fake.is_away = False


@pytest.mark.soak
@pytest.mark.timeout(DEADLINE)
@pytest.mark.parametrize(
    ("assets", "kills", "away"), [pytest.param(1000, 5, 5.0, id="1000"), pytest.param(10_000, 50, 60.0, id="10000")]
)
async def test_no_event_is_lost(postgres: Database, assets: int, kills: int, away: float) -> None:
    chance = random.Random(5)  # noqa: S311 - the same each time
    async with running_eventbridge() as fake, connect(postgres.dsn, max_size=12) as store:
        fake.fails = 0.3
        await EventOutbox(store).set_bus(BUS)
        senders = Senders(postgres.dsn, fake.url)
        for _ in range(2):
            await senders.start()
        working = asyncio.create_task(live(AssetLives(store), assets))
        absence = asyncio.create_task(away_for(fake, assets // 2, away))
        expected = 3 * assets + -(-assets // 3)
        for number in range(kills):
            # At some moment of each span of events, so that the kills are spread over the run.
            await fake.until(expected * number // (kills + 1), deadline=DEADLINE)
            await asyncio.sleep(chance.random() * 0.1)
            await senders.kill_one()
            await senders.start()
        await working
        await absence
        await all_sent(store)
        await senders.kill_all()
        written = await store.fetch("SELECT asset_id, status, event_sequence FROM assets")
    reader = Reader()
    for event in fake.events:
        reader.read(event)
    sent = Counter((event["subject"], event["sequence"]) for event in fake.events)
    twice = sum(sent.values()) - len(sent)
    sys.stdout.write(f"{len(sent)} events, {twice} twice ({twice / len(sent):.2%}), {reader.stale} below a later one\n")
    assert len(sent) == sum(row["event_sequence"] for row in written) == expected
    assert reader.known == {str(row["asset_id"]): (f"{row['event_sequence']:020}", row["status"]) for row in written}
    assert twice <= len(sent) // 100
