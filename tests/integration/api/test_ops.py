"""The operator's endpoints: queues, dead letters by reason and their redrive, stuck work, consumers."""

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
from tests.integration.api.conftest import MEDIA, RunningApi

ADMIN = {"role": "admin"}
SUMMARY = f"{MEDIA}/ops/summary"
REDRIVE = f"{MEDIA}/ops/redrive"
DEAD_LETTERS = f"{MEDIA}/ops/dead-letters"
DISCARD = f"{MEDIA}/ops/discard"


@pytest.fixture
async def ops_api(emulator: EmulatedAws, start_api: Any) -> AsyncIterator[RunningApi]:
    """Run an API with an `images` queue and a dead-letter queue of this test alone."""
    session = get_session()
    session.set_credentials(emulator.access_key, emulator.secret_key)
    async with session.create_client("sqs", endpoint_url=emulator.url, region_name=emulator.region) as sqs:
        name = f"images-{uuid4().hex[:8]}"
        url = (await sqs.create_queue(QueueName=name))["QueueUrl"]
        await sqs.create_queue(QueueName=f"{name}-dlq")
        async with start_api(images_queue_url=url) as api:
            yield api


async def summary(api: RunningApi) -> Any:
    status, body = await api.call("GET", SUMMARY, "root", claims=ADMIN)
    assert status == 200, body
    return body


def images(body: Any) -> Any:
    return next(queue for queue in body["queues"] if queue["name"] == "images")


async def add_dead_letter(api: RunningApi, count: int, code: str, body: str = "{}", reason: str = "") -> None:
    dead = api.service.dead_letters._queues.dead_letters("images")
    for _ in range(count):
        why = reason or f"asset {uuid4()} broke"
        await dead.send(body, attributes={"error": code, "reason": why})


async def redrive(api: RunningApi, **payload: Any) -> Any:
    status, done = await api.call("POST", REDRIVE, "root", claims=ADMIN, json={"queue": "images", **payload})
    assert status == 200, done
    return done


async def test_only_admins_may_use_the_operators_endpoints(shared_api: RunningApi) -> None:
    for claims in ({}, {"role": "service"}, {"role": "operator"}):
        assert (await shared_api.call("GET", SUMMARY, claims=claims))[1]["code"] == "admin_only"
        body = {"queue": "images"}
        for path in (REDRIVE, DISCARD):
            assert (await shared_api.call("POST", path, claims=claims, json=body))[1]["code"] == "admin_only"
        assert (await shared_api.call("GET", DEAD_LETTERS, claims=claims))[1]["code"] == "admin_only"
    assert (await shared_api.http.get(SUMMARY)).status == 401


async def test_dead_letters_are_counted_by_reason_and_sent_back(ops_api: RunningApi) -> None:
    await add_dead_letter(ops_api, 3, "attempts_exhausted")
    await add_dead_letter(ops_api, 2, "undecodable")
    found = images(await summary(ops_api))
    assert (found["backlog"], found["dead"], found["dead_looked_at"]) == (0, 5, 5)
    assert [(group["code"], group["count"]) for group in found["dead_by_reason"]] == [
        ("attempts_exhausted", 3),
        ("undecodable", 2),
    ]
    assert await redrive(ops_api, reason="undecodable") == {"queue": "images", "moved": 2, "finished": True}
    after = images(await summary(ops_api))
    assert (after["backlog"], after["dead"]) == (2, 3)
    assert (await redrive(ops_api))["moved"] == 3
    assert images(await summary(ops_api))["backlog"] == 5


async def test_redrive_of_a_group_skips_later_dead_letters(ops_api: RunningApi) -> None:
    await add_dead_letter(ops_api, 2, "unforeseen", reason="KeyError")
    await add_dead_letter(ops_api, 1, "unforeseen", reason="KeyError in another place")
    seen = await summary(ops_api)
    assert [(group["reason"], group["count"]) for group in images(seen)["dead_by_reason"]] == [
        ("KeyError", 2),
        ("KeyError in another place", 1),
    ]
    await add_dead_letter(ops_api, 1, "unforeseen", reason="KeyError")
    group = {"code": "unforeseen", "reason": "KeyError"}
    assert (await redrive(ops_api, group=group, died_before=seen["at"]))["moved"] == 2
    assert (await redrive(ops_api, group=group, died_before=seen["at"]))["moved"] == 0
    assert images(await summary(ops_api))["dead"] == 2
    assert (await redrive(ops_api, group=group))["moved"] == 1


async def test_undecodable_messages_are_read_and_discarded(ops_api: RunningApi) -> None:
    await add_dead_letter(ops_api, 2, "undecodable", "neither <b>JSON</b> \u0645\u0631\u062d\u0628\u0627", "not JSON")
    await add_dead_letter(ops_api, 1, "undecodable", "x" * 17_000, "too long")
    await add_dead_letter(ops_api, 1, "attempts_exhausted", reason="not JSON")
    seen = await summary(ops_api)

    async def read(reason: str, limit: int = 10) -> Any:
        query = f"?queue=images&code=undecodable&reason={reason}&limit={limit}"
        status, body = await ops_api.call("GET", DEAD_LETTERS + query, "root", claims=ADMIN)
        assert status == 200, body
        return body["items"]

    letters = await read("not JSON")
    assert [letter["body"] for letter in letters] == ["neither <b>JSON</b> \u0645\u0631\u062d\u0628\u0627"] * 2
    assert letters[0]["died_at"] <= letters[1]["died_at"]
    assert len(await read("not JSON", limit=1)) == 1
    [long] = await read("too long")
    assert (len(long["body"]), long["body_length"]) == (16_000, 17_000)
    await add_dead_letter(ops_api, 1, "undecodable", "one that came later", "not JSON")
    wanted = {"queue": "images", "group": {"code": "undecodable", "reason": "not JSON"}, "died_before": seen["at"]}
    status, done = await ops_api.call("POST", DISCARD, "root", claims=ADMIN, json=wanted)
    assert (status, done) == (200, {"queue": "images", "discarded": 2, "finished": True})
    assert [letter["body"] for letter in await read("not JSON")] == ["one that came later"]
    left = images(await summary(ops_api))
    assert (left["backlog"], left["dead"]) == (0, 3)


async def test_redrive_that_stopped_early_is_not_finished(ops_api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "LIMIT", 10)
    await add_dead_letter(ops_api, 25, "undecodable")
    cut = await redrive(ops_api, reason="another")
    assert cut == {"queue": "images", "moved": 0, "finished": False}
    assert images(await summary(ops_api))["dead"] == 25


async def test_summary_has_an_example_for_each_reason(ops_api: RunningApi) -> None:
    ours, theirs = uuid4(), uuid4()
    record = {"s3": {"object": {"key": f"uploads/image/dr-house/{theirs}/x%2By.jpg"}}}
    await add_dead_letter(
        ops_api, 1, "attempts_exhausted", json.dumps({"asset_id": str(ours), "trace_id": str(uuid4())})
    )
    await add_dead_letter(ops_api, 1, "unknown_asset", json.dumps({"Message": json.dumps({"Records": [record]})}))
    await add_dead_letter(ops_api, 1, "undecodable", "neither this nor that")
    found = {group["code"]: group for group in images(await summary(ops_api))["dead_by_reason"]}
    assert {code: group["example_asset_id"] for code, group in found.items()} == {
        "attempts_exhausted": str(ours),
        "unknown_asset": str(theirs),
        "undecodable": None,
    }
    assert all(group["example_message_id"] for group in found.values())
    age = datetime.now(UTC) - datetime.fromisoformat(found["undecodable"]["oldest_at"])
    assert timedelta() <= age < timedelta(minutes=1)


async def test_invalid_redrives_are_refused(shared_api: RunningApi) -> None:
    wrong = ({"reason": ""}, {"all": True}, {"group": {"code": "unforeseen"}}, {"died_before": "2026-01-01T00:00:00"})
    for body in ({}, {"queue": "elsewhere"}, *({"queue": "images"} | more for more in wrong)):
        assert (await shared_api.call("POST", REDRIVE, "root", claims=ADMIN, json=body))[0] == 422
    group = {"code": "undecodable", "reason": ""}
    for unclear in ({"queue": "images"}, {"queue": "images", "group": group}, {"group": group}):
        assert (await shared_api.call("POST", DISCARD, "root", claims=ADMIN, json=unclear))[0] == 422
    for query in ("", "?queue=images", "?queue=elsewhere&code=undecodable", "?queue=images&code=x&limit=1000"):
        assert (await shared_api.call("GET", DEAD_LETTERS + query, "root", claims=ADMIN))[0] == 422


async def test_summary_has_old_and_stuck_work(api: RunningApi) -> None:
    slot = await api.announce()
    asset_id = UUID(slot["asset_id"])
    assert (await summary(api))["oldest_unfinished"] is None
    await api.service.database.execute("UPDATE assets SET status = 'scanning', created_at = now() - interval '1 hour'")
    await api.service.database.execute(
        "INSERT INTO stages (asset_id, stage, updated_at) VALUES ($1, 'scan', now() - interval '20 minutes')", asset_id
    )
    body = await summary(api)
    assert body["oldest_unfinished"]["asset_id"] == slot["asset_id"]
    assert body["oldest_unfinished"]["seconds"] >= 3600
    [stuck] = body["stuck"]
    assert (stuck["asset_id"], stuck["stage"], stuck["state"]) == (slot["asset_id"], "scan", "queued")


async def test_summary_lists_running_consumers(api: RunningApi) -> None:
    reported = asyncio.Event()

    def snapshot() -> ConsumerStatus:
        reported.set()
        return ConsumerStatus("consumer-1", "draining", ["clamd"], 7)

    task = asyncio.create_task(Presence(Operations(api.service.database), snapshot, interval=0.01).run())
    async with asyncio.timeout(20):
        while not (body := await summary(api))["consumers"]:
            await reported.wait()
    [consumer] = body["consumers"]
    assert (consumer["id"], consumer["phase"]) == ("consumer-1", "draining")
    assert (consumer["open_breakers"], consumer["in_flight"], consumer["alive"]) == (["clamd"], 7, True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await summary(api))["consumers"] == []


async def test_killed_consumer_stays_listed_for_a_while(api: RunningApi) -> None:
    operations = Operations(api.service.database)
    await operations.report(ConsumerStatus("killed", "running", [], 0))
    await api.service.database.execute("UPDATE consumers SET seen_at = now() - interval '40 seconds'")
    [silent] = (await summary(api))["consumers"]
    assert not silent["alive"]
    assert 40 <= silent["seconds"] < 100
    await api.service.database.execute("UPDATE consumers SET seen_at = now() - interval '2 hours'")
    await operations.report(ConsumerStatus("other", "running", [], 0))
    assert [consumer.consumer_id for consumer in await operations.consumers()] == ["other"]
    assert await api.service.database.fetchval("SELECT count(*) FROM consumers") == 1
