"""docs/events.md is typed: its template is applied, its consumer runs and is killed, its replay fills a new table."""

import asyncio
import json
import os
import random
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiobotocore.session import get_session

from consumer.maintenance.event_sender import EventSender
from consumer.queue.circuit_breaker import Breakers
from deploy.local.topology import ENVIRONMENT
from media.asset import AssetNote
from media.asset_store.database import Database as Store
from media.asset_store.database import connect
from media.events.event_outbox import EventOutbox
from media.telemetry import Metrics
from tests.conftest import Database, EmulatedAws
from tests.integration.media.asset_lives import SCHEMA_URL, AssetLives, event_bus
from tests.integration.operate.documentation import ROOT, blocks

PAGE = ROOT / "docs" / "events.md"
DEADLINE = 1200.0
"""Seconds for one wait of the longest run, beside other work. The usual ones end before, by the limit of each test."""


@dataclass
class ReadingService:
    """A service that reads events: its queue and rule are the page's template, its consumer is the page's program."""

    queue: str
    rule: str
    program: Path
    env: dict[str, str]
    sqs: Any
    events: Any

    async def start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(sys.executable, str(self.program), env=self.env)

    async def drained(self) -> None:
        """Wait until every message is read and deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        async with asyncio.timeout(DEADLINE):
            while True:
                found = await self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)
                if all(found["Attributes"][name] == "0" for name in names):
                    return
                await asyncio.sleep(0.1)


@pytest.fixture
async def reading(emulator: EmulatedAws, postgres: Database, tmp_path: Path) -> AsyncIterator[ReadingService]:
    session = get_session()
    session.set_credentials(emulator.access_key, emulator.secret_key)
    async with AsyncExitStack() as stack:
        cloudformation, sqs, events = [
            await stack.enter_async_context(
                session.create_client(name, endpoint_url=emulator.url, region_name=emulator.region)
            )
            for name in ("cloudformation", "sqs", "events")
        ]
        name = f"posts-{uuid4().hex[:8]}"
        [template] = blocks(PAGE, "yaml")
        parameters = [{"ParameterKey": "Environment", "ParameterValue": ENVIRONMENT}]
        await cloudformation.create_stack(StackName=name, TemplateBody=template, Parameters=parameters)
        await cloudformation.get_waiter("stack_create_complete").wait(
            StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        [found] = (await cloudformation.describe_stacks(StackName=name))["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}
        queue = outputs["QueueUrl"]
        await sqs.set_queue_attributes(
            QueueUrl=queue, Attributes={"VisibilityTimeout": "2"}
        )  # a killed reader's messages
        [program] = blocks(PAGE, "python")
        (tmp_path / "consumer.py").write_text(program)
        env = {**os.environ, **emulator.client_env, "MEDIA_EVENTS_QUEUE_URL": queue, "DATABASE_URL": postgres.dsn}
        yield ReadingService(queue, outputs["RuleArn"], tmp_path / "consumer.py", env, sqs, events)
        await cloudformation.delete_stack(StackName=name)


@asynccontextmanager
async def telling(store: Store, emulator: EmulatedAws) -> AsyncIterator[EventOutbox]:
    """Send the database's events to the emulator's bus."""
    outbox = EventOutbox(store)
    await outbox.set_bus(emulator.topology.event_bus)
    async with event_bus(emulator.url, emulator.topology.event_bus) as bus:
        sender = EventSender(outbox, bus, Breakers({}, Metrics()), Metrics(), SCHEMA_URL)
        sending = asyncio.create_task(sender.run())
        try:
            yield outbox
        finally:
            sending.cancel()
            await asyncio.wait([sending])


async def everything_sent(outbox: EventOutbox) -> None:
    async with asyncio.timeout(DEADLINE):
        while await outbox.oldest_age():  # noqa: ASYNC110 - the event is in the database
            await asyncio.sleep(0.05)


async def live(lives: AssetLives, count: int, chance: random.Random) -> None:
    """Let pictures live, each in another way."""

    async def one() -> None:
        asset_id = await lives.create(recording_id=uuid4().hex)
        if chance.random() < 0.1:
            return
        await lives.upload(asset_id)
        claim = await lives.scan(asset_id)
        if chance.random() < 0.1:
            await lives.fail(claim)
            return
        await lives.render(claim, notes=[AssetNote("cut_short", "It ends early")] if chance.random() < 0.2 else [])
        if chance.random() < 0.3:
            await lives.database.execute("UPDATE assets SET title = 'new' WHERE asset_id = $1", asset_id)
        if chance.random() < 0.3:
            await lives.assets.delete(asset_id, [])

    for _ in range(count // 10):
        await asyncio.gather(*(one() for _ in range(10)))


async def differences(store: Store) -> list[tuple[UUID, str, str | None]]:
    """Return assets that the reader has otherwise. Of a deleted one it is told no more than the status."""
    found = await store.fetch(
        "SELECT a.asset_id, a.status, m.status AS told FROM assets a LEFT JOIN media_assets m USING (asset_id)"
        " WHERE a.status IS DISTINCT FROM m.status OR a.event_sequence IS DISTINCT FROM m.sequence::bigint"
        " OR (a.status <> 'deleted' AND a.title IS DISTINCT FROM m.asset->>'title')"
    )
    return [(row["asset_id"], row["status"], row["told"]) for row in found]


async def rows(store: Store) -> int:
    """Return how many changes the reader has stored, as far as they can be counted, 0 before its first start."""
    if await store.fetchval("SELECT to_regclass('media_assets') IS NULL"):
        return 0
    return int(await store.fetchval("SELECT coalesce(sum(sequence::bigint), 0) FROM media_assets"))


@pytest.mark.parametrize(
    ("assets", "kills"),
    [
        pytest.param(20, 2, id="a few"),
        pytest.param(3100, 50, id="10,000 events", marks=[pytest.mark.soak, pytest.mark.timeout(2 * DEADLINE)]),
    ],
)
async def test_the_documented_consumer_ends_with_the_state_of_the_assets(
    emulator: EmulatedAws, postgres: Database, reading: ReadingService, assets: int, kills: int
) -> None:
    chance = random.Random(7)  # noqa: S311 - the same each time
    most = 2 * assets // (kills + 1)  # of at least two events of each asset
    async with connect(postgres.dsn, max_size=12) as store, telling(store, emulator) as outbox:
        running = asyncio.create_task(live(AssetLives(store), assets, chance))
        for _ in range(kills):
            reader, enough = await reading.start(), await rows(store) + chance.randint(most // 2, most)
            async with asyncio.timeout(DEADLINE):
                while await rows(store) < enough:  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.02)
            assert reader.returncode is None, "it goes on for ever"
            reader.kill()
            await reader.wait()
        await running
        await everything_sent(outbox)
        reader = await reading.start()
        await reading.drained()
        reader.kill()
        await reader.wait()
        told, wrong = await store.fetchval("SELECT sum(event_sequence) FROM assets"), await differences(store)
        sys.stdout.write(f"{told} events, {kills} kills, {len(wrong)} assets otherwise\n")
        assert wrong == []


async def test_a_replay_tells_a_new_service_what_it_missed(
    emulator: EmulatedAws, postgres: Database, reading: ReadingService
) -> None:
    async with connect(postgres.dsn) as store, telling(store, emulator) as outbox:
        await live(AssetLives(store), 10, random.Random(3))  # noqa: S311 - the same each time
        await everything_sent(outbox)
        await reading.sqs.purge_queue(QueueUrl=reading.queue)
        commands = "\n".join(blocks(PAGE, "sh"))
        name = f"{ENVIRONMENT}-media-events"
        assert f"describe-archive --archive-name {name.replace(ENVIRONMENT, '$ENV')}" in commands
        [destination] = re.findall(r'--destination "(.*)"\n', commands)
        archive = (await reading.events.describe_archive(ArchiveName=name))["ArchiveArn"]
        bus = (await reading.events.describe_event_bus(Name=name))["Arn"]
        named = destination.replace("\\", "").replace("$BUS", bus).replace("$RULE_ARN", reading.rule)
        now = datetime.now(UTC)
        await reading.events.start_replay(
            ReplayName=f"mine-{uuid4().hex}",
            EventSourceArn=archive,
            EventStartTime=now - timedelta(hours=1),
            EventEndTime=now + timedelta(hours=1),
            Destination=json.loads(named),
        )
        reader = await reading.start()
        async with asyncio.timeout(DEADLINE):
            while not await rows(store) or await differences(store):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
        reader.kill()
        await reader.wait()
