"""Callbacks of our own services: signed, recent, accepted once, and about an existing job."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.security.callback_signature import TOLERANCE, sign
from tests.integration.api.conftest import RunningApi

SECRET = "another secret of the tests with 32 bytes or more"
TRANSCODE = "/api/v1/internal/media/callback/transcode"
IMAGE = "/api/v1/internal/media/callback/image"


@pytest.fixture
async def callback_api(start_api: Any) -> AsyncIterator[RunningApi]:
    # No queue is there, so that messages stay in the outbox, where the tests read them.
    nowhere = "http://127.0.0.1:9/000000000000/gone"
    async with start_api(
        callback_secret=SECRET, transcode_events_queue_url=nowhere, images_queue_url=nowhere
    ) as opened:
        yield opened


async def post(api: RunningApi, path: str, body: Any, header: str | None = None) -> tuple[int, Any]:
    text = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    headers |= {"X-Media-Signature": sign(SECRET, text, int(time.time())) if header is None else header}
    async with api.http.post(path, data=text, headers=headers) as answer:
        return answer.status, (await answer.json(content_type=None)).get("code")


async def create_waiting_job(api: RunningApi, job_id: str = "job-1") -> dict[str, Any]:
    """Create an asset that waits for a job. Return the body of a callback about that job."""
    slot = await api.announce(asset_type="video", content_type="video/mp4")
    await api.service.database.execute(
        "INSERT INTO stages (asset_id, stage, state, attempt, job_id) VALUES ($1, 'transcode', 'waiting', 1, $2)",
        UUID(slot["asset_id"]),
        job_id,
    )
    return {"job_id": job_id, "asset_id": slot["asset_id"], "attempt": 1, "status": "STATUS_UPDATE", "percent": 40}


async def test_a_callback_becomes_an_event_on_the_queue(callback_api: RunningApi) -> None:
    assert await post(callback_api, TRANSCODE, await create_waiting_job(callback_api)) == (202, None)
    [row] = await callback_api.service.database.fetch("SELECT * FROM outbox")
    assert (row["kind"], row["target"], row["group_id"]) == ("send", "transcode-events", "doctor-1")
    event = json.loads(row["body"])
    assert event["source"] == "aws.mediaconvert"
    assert event["detail"]["jobId"] == "job-1"
    assert event["detail"]["jobProgress"]["jobPercentComplete"] == 40


async def test_a_replay_is_refused(callback_api: RunningApi) -> None:
    body = await create_waiting_job(callback_api)
    header = sign(SECRET, json.dumps(body).encode(), int(time.time()))
    assert await post(callback_api, TRANSCODE, body, header) == (202, None)
    assert await post(callback_api, TRANSCODE, body, header) == (409, "signature_replayed")


async def test_a_replay_is_refused_by_every_process(callback_api: RunningApi, start_api: Any) -> None:
    body = await create_waiting_job(callback_api)
    header = sign(SECRET, json.dumps(body).encode(), int(time.time()))
    async with start_api(callback_secret=SECRET) as other:
        answers = await asyncio.gather(*(post(api, TRANSCODE, body, header) for api in (callback_api, other) * 5))
    assert sorted(status for status, _ in answers) == [202] + [409] * 9
    assert await callback_api.service.database.fetchval("SELECT count(*) FROM outbox") <= 1


async def test_refused_callback_may_be_repeated_and_expired_signatures_are_deleted(callback_api: RunningApi) -> None:
    body = await create_waiting_job(callback_api)
    header = sign(SECRET, json.dumps(body).encode(), int(time.time()))
    database = callback_api.service.database
    await database.execute("UPDATE stages SET job_id = NULL")
    assert await post(callback_api, TRANSCODE, body, header) == (409, "job_mismatch")
    await database.execute("UPDATE stages SET job_id = 'job-1'")
    assert await post(callback_api, TRANSCODE, body, header) == (202, None)
    await database.execute("UPDATE callbacks SET expires_at = now() - interval '1 second'")
    assert await post(callback_api, TRANSCODE, body | {"percent": 50}) == (202, None)
    assert await database.fetchval("SELECT count(*) FROM callbacks") == 1


async def test_forged_and_stale_signatures_are_refused(callback_api: RunningApi) -> None:
    body = await create_waiting_job(callback_api)
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
        assert await post(callback_api, TRANSCODE, body, header) == (401, "signature_invalid"), header
    assert await callback_api.service.database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_job_and_asset_must_match(callback_api: RunningApi) -> None:
    one, other = await create_waiting_job(callback_api, "job-1"), await create_waiting_job(callback_api, "job-2")
    assert await post(callback_api, TRANSCODE, one | {"job_id": "job-2"}) == (409, "job_mismatch")
    assert await post(callback_api, TRANSCODE, other | {"asset_id": one["asset_id"]}) == (409, "job_mismatch")
    assert await post(callback_api, TRANSCODE, one | {"asset_id": str(uuid4())}) == (404, "not_found")
    assert await post(callback_api, TRANSCODE, one | {"status": "DANCING"}) == (422, "invalid_request")


async def test_image_callback_must_name_the_scanned_version(callback_api: RunningApi) -> None:
    slot = await callback_api.announce()
    await callback_api.ready(slot["asset_id"])
    body = {"asset_id": slot["asset_id"], "version_id": "v1"}
    assert await post(callback_api, IMAGE, body) == (409, "job_mismatch")
    await callback_api.service.database.execute(
        "INSERT INTO stages (asset_id, stage) VALUES ($1, 'image')", UUID(slot["asset_id"])
    )
    assert await post(callback_api, IMAGE, body | {"version_id": "v2"}) == (409, "job_mismatch")
    assert await post(callback_api, IMAGE, body) == (202, None)
    row = await callback_api.service.database.fetchrow("SELECT target, body FROM outbox")
    assert row
    assert row["target"] == "images"
    assert json.loads(row["body"])["type"] == "image.requested"


async def test_callbacks_are_not_found_without_a_secret(api: RunningApi) -> None:
    assert await post(api, TRANSCODE, {}) == (404, "not_found")
