"""Uploads as a client does them: announce, PUT over plain HTTP, confirm."""

import asyncio
import base64
import hashlib
import json
import re
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiobotocore.session import get_session

from media.asset import ObjectVersion
from media.asset_store.housekeeping import Housekeeping, Retention
from media.events.asset_event import asset_event
from media.events.event_outbox import EventOutbox
from tests.conftest import EmulatedAws
from tests.integration.api.conftest import MEDIA, RunningApi

PHOTO = b"\xff\xd8 not really a picture"


async def put(slot: Any, body: bytes, **headers: str) -> int:
    sent = slot["headers"] | headers
    async with aiohttp.ClientSession() as session, session.put(slot["upload_url"], data=body, headers=sent) as answer:
        return answer.status


async def test_a_file_is_announced_put_and_confirmed(shared_api: RunningApi) -> None:
    slot = await shared_api.announce(size=len(PHOTO))
    assert slot["s3_key"] == f"uploads/image/doctor-1/{slot['asset_id']}/photo.jpg"
    assert slot["expires_in"] == 900
    assert slot["headers"] == {"Content-Type": "image/jpeg", "If-None-Match": "*"}
    assert await put(slot, PHOTO) == 200
    status, asset = await shared_api.call("POST", f"{MEDIA}/upload/confirm", json={"asset_id": slot["asset_id"]})
    assert status == 200
    assert asset["status"] == "uploaded"
    assert asset["size"] == len(PHOTO)


async def test_limits_are_shown_to_everybody_and_are_those_of_the_door(start_api: Any) -> None:
    limits = {"image_max_bytes": 1000, "video_max_bytes": 9000, "audio_max_bytes": 9000, "scan_max_bytes": 5000}
    async with start_api(**limits, unscannable_video="reencode") as api:
        answer = await api.http.get(f"{MEDIA}/upload/limits")
        shown = {item["asset_type"]: item for item in (await answer.json())["items"]}
        assert {name: shown[name]["max_bytes"] for name in ("image", "video", "audio")} == {
            "image": 1000,
            "video": 9000,
            "audio": 5000,
        }
        assert "image/svg+xml" not in shown["image"]["content_types"]
        body = {"asset_type": "image", "original_filename": "a.jpg"}
        for content_type in shown["image"]["content_types"]:
            for size, status in ((1000, 201), (1001, 413)):
                wanted = body | {"content_type": content_type, "size": size}
                assert (await api.call("POST", f"{MEDIA}/upload", json=wanted))[0] == status, content_type


async def test_second_put_is_refused_where_the_advice_is_followed(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    assert await put(slot, PHOTO) == 200
    assert await put(slot, b"something else") == 412


async def test_type_that_no_header_can_carry_is_refused(shared_api: RunningApi) -> None:
    body = {"asset_type": "image", "content_type": "image/jpeg;\nx", "original_filename": "photo.jpg"}
    status, problem = await shared_api.call("POST", f"{MEDIA}/upload", json=body)
    assert (status, problem["errors"][0]["field"]) == (422, "content_type")


async def test_a_put_with_another_type_is_refused(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    assert await put(slot, PHOTO, **{"Content-Type": "text/html"}) == 403


async def test_a_put_with_its_content_type_alone_succeeds_and_the_first_bound_version_stays(
    shared_api: RunningApi,
) -> None:
    slot = await shared_api.announce()
    slot["headers"] = {"Content-Type": "image/jpeg"}
    assert await put(slot, PHOTO) == 200
    await confirm(shared_api, slot["asset_id"])
    assert await put(slot, PHOTO + b" and more") == 200
    status, asset = await confirm(shared_api, slot["asset_id"])
    assert (status, asset["size"]) == (200, len(PHOTO))


@pytest.mark.parametrize("announced", ["image/jpg", "IMAGE/JPEG", "image/jpeg;charset=binary", "image/jpeg;  q=1"])
async def test_a_put_carries_the_type_as_it_was_announced(shared_api: RunningApi, announced: str) -> None:
    """A browser's `File.type` may be another name of the format, or have parameters: `audio/webm;codecs=opus`."""
    slot = await shared_api.announce(content_type=announced)
    slot["headers"] = {"Content-Type": announced}
    assert await put(slot, PHOTO) == 200
    _, asset = await confirm(shared_api, slot["asset_id"])
    assert asset["content_type"] == "image/jpeg"


async def test_the_storage_refuses_other_bytes_than_the_digest_that_was_announced(shared_api: RunningApi) -> None:
    digest = hashlib.sha256(PHOTO)
    slot = await shared_api.announce(sha256=digest.hexdigest())
    assert slot["headers"]["x-amz-checksum-sha256"] == base64.b64encode(digest.digest()).decode()
    assert await put(slot, PHOTO[::-1]) == 400
    other = base64.b64encode(hashlib.sha256(PHOTO[::-1]).digest()).decode()
    assert await put(slot, PHOTO[::-1], **{"x-amz-checksum-sha256": other}) == 403
    assert await put(slot, PHOTO) == 200


async def test_a_client_may_send_the_md5_of_what_it_sends(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    md5 = base64.b64encode(hashlib.md5(PHOTO, usedforsecurity=False).digest()).decode()
    assert await put(slot, PHOTO[::-1], **{"Content-MD5": md5}) == 400
    assert await put(slot, PHOTO, **{"Content-MD5": md5}) == 200


async def test_a_put_of_another_length_is_refused(shared_api: RunningApi) -> None:
    slot = await shared_api.announce(size=len(PHOTO))
    assert await put(slot, PHOTO + b"!") == 403


async def confirm(api: RunningApi, asset_id: str, **options: Any) -> tuple[int, Any]:
    return await api.call("POST", f"{MEDIA}/upload/confirm", json={"asset_id": asset_id}, **options)


async def messages_about(emulator: EmulatedAws, asset_id: str, kind: str) -> list[Any]:
    """Receive messages of the uploads queue until one of this kind names the asset."""
    session = get_session()
    session.set_credentials(emulator.access_key, emulator.secret_key)
    async with (
        asyncio.timeout(20),
        session.create_client("sqs", endpoint_url=emulator.url, region_name=emulator.region) as sqs,
    ):
        while True:
            url = emulator.topology.queue_urls["uploads"]
            answer = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            bodies = [json.loads(message["Body"]) for message in answer.get("Messages", [])]
            if found := [body for body in bodies if body.get("type") == kind and body["asset_id"] == asset_id]:
                return found


async def test_confirm_binds_the_version_and_requests_its_scan(api: RunningApi, emulator: EmulatedAws) -> None:
    slot = await api.announce()
    await put(slot, PHOTO)
    assert (await confirm(api, slot["asset_id"]))[0] == 200
    [message] = await messages_about(emulator, slot["asset_id"], "scan.requested")
    stored = await api.service.storage.head(ObjectVersion(message["bucket"], message["key"]))
    assert stored
    assert message["version_id"] == stored.version.version_id
    assert await api.service.database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_confirm_can_be_repeated(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    await put(slot, PHOTO)
    first = await confirm(shared_api, slot["asset_id"])
    assert await confirm(shared_api, slot["asset_id"]) == first
    codes = [entry.code for entry in await shared_api.service.assets.timeline(UUID(slot["asset_id"]))]
    assert codes == ["created", "uploaded"]


async def test_concurrent_confirms_bind_once(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    await put(slot, PHOTO)
    answers = await asyncio.gather(*(confirm(shared_api, slot["asset_id"]) for _ in range(8)))
    assert {status for status, _ in answers} == {200}
    codes = [entry.code for entry in await shared_api.service.assets.timeline(UUID(slot["asset_id"]))]
    assert codes.count("uploaded") == 1


async def test_confirm_after_the_event_reports_the_bound_asset(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    await put(slot, PHOTO)
    stored = await shared_api.service.storage.head(
        ObjectVersion(shared_api.service.settings.output_bucket, slot["s3_key"])
    )
    assert stored
    await shared_api.service.assets.bind(UUID(slot["asset_id"]), stored)
    status, asset = await confirm(shared_api, slot["asset_id"])
    assert (status, asset["status"]) == (200, "uploaded")


async def test_confirm_before_the_put_is_a_conflict(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    status, problem = await confirm(shared_api, slot["asset_id"])
    assert (status, problem["code"]) == (409, "not_uploaded")


async def test_file_is_counted_once_with_its_bytes_and_its_trace(api: RunningApi) -> None:
    slot = await api.announce()
    await put(slot, PHOTO)
    trace = "Root=1-67891233-abcdef012345678912345678"
    for _ in range(2):
        assert (await confirm(api, slot["asset_id"], headers={"X-Amzn-Trace-Id": trace}))[0] == 200
    answer = await api.http.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    text = await answer.text()
    assert 'media_uploads_total{asset_type="image"} 1.0\n' in text
    assert f'media_upload_bytes_total{{asset_type="image"}} {float(len(PHOTO))}\n' in text
    assert f'# {{trace_id="{trace}"}}' in text
    assert "_created" not in text
    assert "process_open_fds" in text


async def test_expired_upload_can_still_be_confirmed(api: RunningApi) -> None:
    slot = await api.announce()
    await put(slot, PHOTO)
    await api.service.database.execute("UPDATE assets SET status = 'expired'")
    status, asset = await confirm(api, slot["asset_id"])
    assert (status, asset["status"]) == (200, "uploaded")


async def test_confirm_of_another_size_is_a_conflict(shared_api: RunningApi) -> None:
    slot = await shared_api.announce(size=3)
    settings = shared_api.service.settings
    await shared_api.service.storage.write(settings.output_bucket, slot["s3_key"], PHOTO, "image/jpeg")
    assert (await confirm(shared_api, slot["asset_id"]))[1]["code"] == "size_mismatch"


async def test_confirm_succeeds_while_the_queue_is_unavailable(start_api: Any) -> None:
    async with start_api(uploads_queue_url="http://127.0.0.1:9/000000000000/gone") as api:
        slot = await api.announce()
        await put(slot, PHOTO)
        assert (await confirm(api, slot["asset_id"]))[0] == 200
        assert await api.service.database.fetchval("SELECT count(*) FROM outbox WHERE kind = 'send'") == 1


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"content_type": "text/html"}, 415, "content_type_not_allowed"),
        ({"content_type": "application/pdf"}, 415, "content_type_not_allowed"),
        ({"size": 50 * 1024 * 1024 + 1}, 413, "too_large"),
        ({"size": 0}, 422, "invalid_request"),
        ({"size": "9"}, 422, "invalid_request"),
        ({"asset_type": "program"}, 422, "invalid_request"),
        ({"original_filename": ""}, 422, "invalid_request"),
        ({"original_filename": "x" * 10_000}, 422, "invalid_request"),
        ({"original_filename": "\0\0"}, 422, "invalid_request"),
        ({"delivery": "course_video"}, 403, "delivery_not_allowed"),
        ({"delivery": "webinar_vod"}, 403, "delivery_not_allowed"),
        ({"surprise": 1}, 422, "invalid_request"),
    ],
)
async def test_invalid_announcements_are_refused(shared_api: RunningApi, fields: Any, status: int, code: str) -> None:
    body = {"asset_type": "image", "content_type": "image/jpeg", "original_filename": "photo.jpg"} | fields
    got, answer = await shared_api.call("POST", f"{MEDIA}/upload", json=body)
    assert (got, answer.get("code", "")) == (status, code)


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "..\\..\\boot.ini", "a\0b.jpg", "снимок.jpg", "\u202egpj.exe", " "]
)
async def test_a_file_name_never_leaves_its_owners_prefix(shared_api: RunningApi, name: str) -> None:
    status, slot = await shared_api.call(
        "POST",
        f"{MEDIA}/upload",
        json={"asset_type": "image", "content_type": "image/jpeg", "original_filename": name},
    )
    assert status in {201, 422}
    if status == 201:
        prefix = f"uploads/image/doctor-1/{slot['asset_id']}/"
        assert slot["s3_key"].startswith(prefix)
        assert re.fullmatch(r"[A-Za-z0-9._-]+", slot["s3_key"].removeprefix(prefix))


async def test_a_service_may_ask_for_any_delivery(shared_api: RunningApi) -> None:
    claims = {"role": "service"}
    fields = {"asset_type": "video", "content_type": "video/mp4", "delivery": "webinar_vod", "claims": claims}
    assert await shared_api.announce("ms-6", **fields)


async def test_subject_that_cannot_own_assets_is_forbidden(shared_api: RunningApi) -> None:
    body = {"asset_type": "image", "content_type": "image/jpeg", "original_filename": "photo.jpg"}
    for subject in ("a/b", "..", "x" * 65, "a b", "\0"):
        status, problem = await shared_api.call("POST", f"{MEDIA}/upload", subject, json=body)
        assert (status, problem["code"]) == (403, "owner_id_not_allowed")


async def test_an_idempotency_key_makes_one_asset(shared_api: RunningApi) -> None:
    body = {"asset_type": "image", "content_type": "image/jpeg", "original_filename": "photo.jpg", "size": 10}
    headers = {"Idempotency-Key": "6f0c"}
    answers = await asyncio.gather(
        *(shared_api.call("POST", f"{MEDIA}/upload", json=body, headers=headers) for _ in range(5))
    )
    assert {status for status, _ in answers} == {201}
    assert len({slot["asset_id"] for _, slot in answers}) == 1
    status, problem = await shared_api.call("POST", f"{MEDIA}/upload", json=body | {"size": 11}, headers=headers)
    assert (status, problem["code"]) == (422, "idempotency_key_reused")
    _, other = await shared_api.call("POST", f"{MEDIA}/upload", "doctor-2", json=body, headers=headers)
    assert other["asset_id"] != answers[0][1]["asset_id"]


async def test_idempotency_key_is_scoped_to_the_endpoint_and_ends_with_its_asset(shared_api: RunningApi) -> None:
    body = {"asset_type": "video", "content_type": "video/mp4", "original_filename": "a.mp4", "size": 10}
    headers = {"Idempotency-Key": "7b1d"}
    _, slot = await shared_api.call("POST", f"{MEDIA}/upload", json=body, headers=headers)
    status, begun = await shared_api.call("POST", f"{MEDIA}/upload/multipart", json=body, headers=headers)
    assert (status, begun["asset_id"] == slot["asset_id"]) == (201, False)
    await shared_api.call("DELETE", f"{MEDIA}/assets/{slot['asset_id']}")
    status, problem = await shared_api.call("POST", f"{MEDIA}/upload", json=body, headers=headers)
    assert (status, problem["code"]) == (404, "deleted")


async def test_an_asset_that_comes_again_after_its_record_is_purged_is_told_with_higher_numbers(
    api: RunningApi,
) -> None:
    database, headers = api.service.database, {"Idempotency-Key": "again"}
    outbox = EventOutbox(database)
    await outbox.set_bus("bus")
    body = {"asset_type": "image", "content_type": "image/jpeg", "original_filename": "photo.jpg"}
    slot: Any = None
    for _ in range(3):
        _, slot = await api.call("POST", f"{MEDIA}/upload", json=body, headers=headers)
        await api.call("DELETE", f"{MEDIA}/assets/{slot['asset_id']}")
        await database.execute("DELETE FROM outbox")  # no consumer runs here, whose work it is
        await database.execute("UPDATE assets SET updated_at = now() - interval '31 days'")
        await Housekeeping(database, Retention()).purge("deleted", Retention().expired)
    assert (await api.call("GET", f"{MEDIA}/assets/{slot['asset_id']}"))[0] == 404
    assert (await api.call("POST", f"{MEDIA}/upload", json=body, headers=headers))[1]["asset_id"] == slot["asset_id"]
    told = []
    while pending := await outbox.take(10):
        told += [json.loads(asset_event(event, "https://media.example/schema")) for event in pending]
        await outbox.sent(pending)
    assert {event["subject"] for event in told} == {slot["asset_id"]}
    last = max(told, key=lambda event: event["sequence"])
    assert last["data"]["asset"]["status"] == "pending", "the largest number wins"
    assert [int(event["sequence"]) for event in told] == list(range(1, 8))
