"""The operator's endpoints: the queues as they are, dead letters by reason and back, work that is stuck, consumers."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiobotocore.session import get_session

from consumer.maintenance.presence import Presence
from media.asset_store.operations import ConsumerStatus, Operations
from media.dead_letters import browser
from tests.conftest import EmulatedAws
from tests.integration.api.conftest import MEDIA, Door

ADMIN = {"role": "admin"}
SUMMARY = f"{MEDIA}/ops/summary"
REDRIVE = f"{MEDIA}/ops/redrive"


@pytest.fixture
async def quiet(emulator: EmulatedAws, open_door: Any) -> AsyncIterator[Door]:
    """An API whose `images` queue and its dead letters are this test's alone."""
    session = get_session()
    session.set_credentials(emulator.access_key, emulator.secret_key)
    async with session.create_client("sqs", endpoint_url=emulator.url, region_name=emulator.region) as sqs:
        name = f"images-{uuid4().hex[:8]}"
        url = (await sqs.create_queue(QueueName=name))["QueueUrl"]
        await sqs.create_queue(QueueName=f"{name}-dlq")
        async with open_door(images_queue_url=url) as door:
            yield door


async def summary(door: Door) -> Any:
    status, body = await door.call("GET", SUMMARY, "root", claims=ADMIN)
    assert status == 200, body
    return body


def images(body: Any) -> Any:
    return next(queue for queue in body["queues"] if queue["name"] == "images")


async def add_dead_letter(door: Door, count: int, code: str, body: str = "{}", reason: str = "") -> None:
    dead = door.service.dead_letters._queues.dead_letters("images")
    for _ in range(count):
        why = reason or f"asset {uuid4()} broke"
        await dead.send(body, attributes={"error": code, "reason": why})


async def redrive(door: Door, **asked: Any) -> Any:
    status, done = await door.call("POST", REDRIVE, "root", claims=ADMIN, json={"queue": "images", **asked})
    assert status == 200, done
    return done


async def test_operators_only(busy: Door) -> None:
    for claims in ({}, {"role": "service"}, {"role": "operator"}):
        assert (await busy.call("GET", SUMMARY, claims=claims))[1]["code"] == "admin_only"
        body = {"queue": "images"}
        assert (await busy.call("POST", REDRIVE, claims=claims, json=body))[1]["code"] == "admin_only"
    assert (await busy.http.get(SUMMARY)).status == 401


async def test_dead_letters_are_counted_by_reason_and_sent_back(quiet: Door) -> None:
    await add_dead_letter(quiet, 3, "attempts_exhausted")
    await add_dead_letter(quiet, 2, "undecodable")
    found = images(await summary(quiet))
    assert (found["backlog"], found["dead"], found["dead_looked_at"]) == (0, 5, 5)
    assert [(group["code"], group["count"]) for group in found["dead_by_reason"]] == [
        ("attempts_exhausted", 3),
        ("undecodable", 2),
    ]
    assert await redrive(quiet, reason="undecodable") == {"queue": "images", "moved": 2, "finished": True}
    after = images(await summary(quiet))
    assert (after["backlog"], after["dead"]) == (2, 3)
    assert (await redrive(quiet))["moved"] == 3
    assert images(await summary(quiet))["backlog"] == 5


async def test_one_group_is_sent_back_and_none_that_died_since(quiet: Door) -> None:
    await add_dead_letter(quiet, 2, "unforeseen", reason="KeyError")
    await add_dead_letter(quiet, 1, "unforeseen", reason="KeyError in another place")
    seen = await summary(quiet)
    assert [(group["reason"], group["count"]) for group in images(seen)["dead_by_reason"]] == [
        ("KeyError", 2),
        ("KeyError in another place", 1),
    ]
    await add_dead_letter(quiet, 1, "unforeseen", reason="KeyError")
    group = {"code": "unforeseen", "reason": "KeyError"}
    assert (await redrive(quiet, group=group, died_before=seen["at"]))["moved"] == 2
    assert (await redrive(quiet, group=group, died_before=seen["at"]))["moved"] == 0
    assert images(await summary(quiet))["dead"] == 2
    assert (await redrive(quiet, group=group))["moved"] == 1


async def test_a_redrive_that_was_cut_short_says_so(quiet: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "LIMIT", 10)
    await add_dead_letter(quiet, 25, "undecodable")
    cut = await redrive(quiet, reason="another")
    assert cut == {"queue": "images", "moved": 0, "finished": False}
    assert images(await summary(quiet))["dead"] == 25


async def test_an_example_is_told_for_each_reason(quiet: Door) -> None:
    ours, theirs = uuid4(), uuid4()
    record = {"s3": {"object": {"key": f"uploads/image/dr-house/{theirs}/x%2By.jpg"}}}
    await add_dead_letter(quiet, 1, "attempts_exhausted", json.dumps({"asset_id": str(ours), "trace_id": str(uuid4())}))
    await add_dead_letter(quiet, 1, "unknown_asset", json.dumps({"Message": json.dumps({"Records": [record]})}))
    await add_dead_letter(quiet, 1, "undecodable", "neither this nor that")
    found = {group["code"]: group for group in images(await summary(quiet))["dead_by_reason"]}
    assert {code: group["example_asset_id"] for code, group in found.items()} == {
        "attempts_exhausted": str(ours),
        "unknown_asset": str(theirs),
        "undecodable": None,
    }
    assert all(group["example_message_id"] for group in found.values())
    age = datetime.now(UTC) - datetime.fromisoformat(found["undecodable"]["oldest_at"])
    assert timedelta() <= age < timedelta(minutes=1)


async def test_what_may_not_be_redriven(busy: Door) -> None:
    wrong = ({"reason": ""}, {"all": True}, {"group": {"code": "unforeseen"}}, {"died_before": "2026-01-01T00:00:00"})
    for body in ({}, {"queue": "elsewhere"}, *({"queue": "images"} | more for more in wrong)):
        assert (await busy.call("POST", REDRIVE, "root", claims=ADMIN, json=body))[0] == 422


async def test_old_and_stuck_work_is_told(door: Door) -> None:
    slot = await door.announce()
    asset_id = UUID(slot["asset_id"])
    assert (await summary(door))["oldest_unfinished"] is None
    await door.service.database.execute("UPDATE assets SET status = 'scanning', created_at = now() - interval '1 hour'")
    await door.service.database.execute(
        "INSERT INTO stages (asset_id, stage, updated_at) VALUES ($1, 'scan', now() - interval '20 minutes')", asset_id
    )
    body = await summary(door)
    assert body["oldest_unfinished"]["asset_id"] == slot["asset_id"]
    assert body["oldest_unfinished"]["seconds"] >= 3600
    [stuck] = body["stuck"]
    assert (stuck["asset_id"], stuck["stage"], stuck["state"]) == (slot["asset_id"], "scan", "queued")


async def test_consumers_come_and_go(door: Door) -> None:
    told = asyncio.Event()

    def look() -> ConsumerStatus:
        told.set()
        return ConsumerStatus("consumer-1", "draining", ["clamd"], 7)

    task = asyncio.create_task(Presence(Operations(door.service.database), look, interval=0.01).run())
    async with asyncio.timeout(20):
        while not (body := await summary(door))["consumers"]:
            await told.wait()
    [consumer] = body["consumers"]
    assert (consumer["id"], consumer["phase"]) == ("consumer-1", "draining")
    assert (consumer["open_breakers"], consumer["in_flight"], consumer["alive"]) == (["clamd"], 7, True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await summary(door))["consumers"] == []


async def test_a_consumer_that_was_killed_is_told_for_a_while(door: Door) -> None:
    operations = Operations(door.service.database)
    await operations.report(ConsumerStatus("killed", "running", [], 0))
    await door.service.database.execute("UPDATE consumers SET seen_at = now() - interval '40 seconds'")
    [silent] = (await summary(door))["consumers"]
    assert not silent["alive"]
    assert 40 <= silent["seconds"] < 100
    await door.service.database.execute("UPDATE consumers SET seen_at = now() - interval '2 hours'")
    await operations.report(ConsumerStatus("other", "running", [], 0))
    assert [consumer.consumer_id for consumer in await operations.consumers()] == ["other"]
    assert await door.service.database.fetchval("SELECT count(*) FROM consumers") == 1
