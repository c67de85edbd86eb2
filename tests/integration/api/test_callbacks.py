"""Callbacks of our own services: signed, fresh, once, and about a job that is there."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.security.callback_signature import TOLERANCE, sign
from tests.integration.api.conftest import Door

SECRET = "another secret of the tests with 32 bytes or more"
TRANSCODE = "/api/v1/internal/media/callback/transcode"
IMAGE = "/api/v1/internal/media/callback/image"


@pytest.fixture
async def called(open_door: Any) -> AsyncIterator[Door]:
    # Nobody listens there, so that what was asked for stays in the outbox and can be looked at.
    nowhere = "http://127.0.0.1:9/000000000000/gone"
    async with open_door(
        callback_secret=SECRET, transcode_events_queue_url=nowhere, images_queue_url=nowhere
    ) as opened:
        yield opened


async def post(door: Door, path: str, body: Any, header: str | None = None) -> tuple[int, Any]:
    text = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    headers |= {"X-Media-Signature": sign(SECRET, text, int(time.time())) if header is None else header}
    async with door.http.post(path, data=text, headers=headers) as answer:
        return answer.status, (await answer.json(content_type=None)).get("code")


async def waiting(door: Door, job_id: str = "job-1") -> dict[str, Any]:
    """A callback about a job that an asset waits for."""
    slot = await door.announce(asset_type="video", content_type="video/mp4")
    await door.service.database.execute(
        "INSERT INTO stages (asset_id, stage, state, attempt, job_id) VALUES ($1, 'transcode', 'waiting', 1, $2)",
        UUID(slot["asset_id"]),
        job_id,
    )
    return {"job_id": job_id, "asset_id": slot["asset_id"], "attempt": 1, "status": "STATUS_UPDATE", "percent": 40}


async def test_a_callback_becomes_an_event_on_the_queue(called: Door) -> None:
    assert await post(called, TRANSCODE, await waiting(called)) == (202, None)
    [row] = await called.service.database.fetch("SELECT * FROM outbox")
    assert (row["kind"], row["target"], row["group_id"]) == ("send", "transcode-events", "doctor-1")
    event = json.loads(row["body"])
    assert event["source"] == "aws.mediaconvert"
    assert event["detail"]["jobId"] == "job-1"
    assert event["detail"]["jobProgress"]["jobPercentComplete"] == 40


async def test_a_replay_is_refused(called: Door) -> None:
    body = await waiting(called)
    header = sign(SECRET, json.dumps(body).encode(), int(time.time()))
    assert await post(called, TRANSCODE, body, header) == (202, None)
    assert await post(called, TRANSCODE, body, header) == (409, "signature_replayed")


async def test_a_replay_is_refused_by_every_process(called: Door, open_door: Any) -> None:
    body = await waiting(called)
    header = sign(SECRET, json.dumps(body).encode(), int(time.time()))
    async with open_door(callback_secret=SECRET) as other:
        answers = await asyncio.gather(*(post(door, TRANSCODE, body, header) for door in (called, other) * 5))
    assert sorted(status for status, _ in answers) == [202] + [409] * 9
    assert await called.service.database.fetchval("SELECT count(*) FROM outbox") <= 1


async def test_what_was_refused_may_come_again_and_what_has_expired_is_forgotten(called: Door) -> None:
    body = await waiting(called)
    header = sign(SECRET, json.dumps(body).encode(), int(time.time()))
    database = called.service.database
    await database.execute("UPDATE stages SET job_id = NULL")
    assert await post(called, TRANSCODE, body, header) == (409, "job_mismatch")
    await database.execute("UPDATE stages SET job_id = 'job-1'")
    assert await post(called, TRANSCODE, body, header) == (202, None)
    await database.execute("UPDATE callbacks SET expires_at = now() - interval '1 second'")
    assert await post(called, TRANSCODE, body | {"percent": 50}) == (202, None)
    assert await database.fetchval("SELECT count(*) FROM callbacks") == 1


async def test_forged_and_stale_signatures_are_refused(called: Door) -> None:
    body = await waiting(called)
    text = json.dumps(body).encode()
    now = int(time.time())
    good = sign(SECRET, text, now)
    for header in (
        "",
        "t=1",
        good.upper(),
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        sign("a guess", text, now),
        sign(SECRET, text + b" ", now),
        sign(SECRET, text, now - TOLERANCE - 5),
        sign(SECRET, text, now + TOLERANCE + 5),
        good.replace(f"t={now}", f"t={now + 1}"),
    ):
        assert await post(called, TRANSCODE, body, header) == (401, "signature_invalid"), header
    assert await called.service.database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_job_and_asset_must_match(called: Door) -> None:
    one, other = await waiting(called, "job-1"), await waiting(called, "job-2")
    assert await post(called, TRANSCODE, one | {"job_id": "job-2"}) == (409, "job_mismatch")
    assert await post(called, TRANSCODE, other | {"asset_id": one["asset_id"]}) == (409, "job_mismatch")
    assert await post(called, TRANSCODE, one | {"asset_id": str(uuid4())}) == (404, "not_found")
    assert await post(called, TRANSCODE, one | {"status": "DANCING"}) == (422, "invalid_request")


async def test_a_picture_is_asked_for_in_its_scanned_version(called: Door) -> None:
    slot = await called.announce()
    await called.ready(slot["asset_id"])
    body = {"asset_id": slot["asset_id"], "version_id": "v1"}
    assert await post(called, IMAGE, body) == (409, "job_mismatch")
    await called.service.database.execute(
        "INSERT INTO stages (asset_id, stage) VALUES ($1, 'image')", UUID(slot["asset_id"])
    )
    assert await post(called, IMAGE, body | {"version_id": "v2"}) == (409, "job_mismatch")
    assert await post(called, IMAGE, body) == (202, None)
    row = await called.service.database.fetchrow("SELECT target, body FROM outbox")
    assert row
    assert row["target"] == "images"
    assert json.loads(row["body"])["type"] == "image.requested"


async def test_without_a_secret_there_are_no_callbacks(door: Door) -> None:
    assert await post(door, TRANSCODE, {}) == (404, "not_found")
