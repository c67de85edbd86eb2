"""Uploads in parts as a page does them: begun, interrupted, resumed after a reload, completed."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from media.asset import ObjectVersion
from media.aws.s3_multipart import MultipartTarget
from tests.integration.api.conftest import MEDIA, RunningApi

type StartApi = Callable[..., AbstractAsyncContextManager[RunningApi]]

MIB = 1024 * 1024
SIZE = 17 * MIB + 5
FILE = hashlib.shake_256(b"a film").digest(MIB) * 18
FILM = {"asset_type": "video", "content_type": "video/mp4", "original_filename": "film.mp4", "size": SIZE}


def bytes_of(number: int, part_size: int) -> bytes:
    return FILE[:SIZE][(number - 1) * part_size : number * part_size]


async def begin(api: RunningApi, subject: str = "doctor-1", **fields: Any) -> Any:
    status, upload = await api.call("POST", f"{MEDIA}/upload/multipart", subject, json=FILM | fields)
    assert status == 201, upload
    return upload


def path_of(upload: Any, tail: str = "") -> str:
    return f"{MEDIA}/upload/multipart/{upload['asset_id']}{tail}"


async def part_urls(api: RunningApi, upload: Any, numbers: list[int]) -> list[Any]:
    status, answer = await api.call("POST", path_of(upload, "/parts"), json={"part_numbers": numbers})
    assert status == 200, answer
    items: list[Any] = answer["items"]
    return items


async def put(link: Any, body: bytes) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.put(link["url"], data=body) as answer:
        return answer.status, answer.headers.get("ETag", "")


async def send(api: RunningApi, upload: Any, numbers: list[int]) -> list[dict[str, Any]]:
    """PUT some parts. Return them as the completion needs them."""
    parts = []
    for link in await part_urls(api, upload, numbers):
        status, etag = await put(link, bytes_of(link["part_number"], upload["part_size"]))
        assert status == 200
        parts.append({"part_number": link["part_number"], "etag": etag})
    return parts


async def complete(api: RunningApi, upload: Any, parts: list[Any], subject: str = "doctor-1") -> tuple[int, Any]:
    return await api.call("POST", path_of(upload, "/complete"), subject, json={"parts": parts})


async def test_a_film_is_resumed_after_a_reload_and_completed(shared_api: RunningApi) -> None:
    upload = await begin(shared_api)
    assert (upload["part_size"], upload["part_count"], upload["parts"]) == (8 * MIB, 3, [])
    await send(shared_api, upload, [2])
    # The page was reloaded, and knows only the asset.
    status, again = await shared_api.call("GET", path_of(upload))
    assert status == 200
    assert [(part["part_number"], part["size"]) for part in again["parts"]] == [(2, 8 * MIB)]
    parts = [{"part_number": part["part_number"], "etag": part["etag"]} for part in again["parts"]]
    parts += await send(shared_api, again, [1, 3])
    status, asset = await complete(shared_api, upload, sorted(parts, key=lambda part: part["part_number"]))
    assert (status, asset["status"], asset["size"]) == (200, "uploaded", SIZE)
    version = ObjectVersion(shared_api.service.settings.output_bucket, upload["s3_key"])
    assert await shared_api.service.storage.sha256(version) == hashlib.sha256(FILE[:SIZE]).hexdigest()
    known = await shared_api.service.storage.head(version)
    assert known
    assert known.content_type == "video/mp4"


async def test_completing_can_be_repeated_and_ends_the_upload(shared_api: RunningApi) -> None:
    upload = await begin(shared_api, size=3)
    status, etag = await put((await part_urls(shared_api, upload, [1]))[0], FILE[:3])
    assert status == 200
    parts = [{"part_number": 1, "etag": etag}]
    first, second = await asyncio.gather(complete(shared_api, upload, parts), complete(shared_api, upload, parts))
    assert (first[0], second[0]) == (200, 200)
    assert await complete(shared_api, upload, parts) == (200, first[1])
    codes = [entry.code for entry in await shared_api.service.assets.timeline(UUID(upload["asset_id"]))]
    assert codes == ["created", "uploaded"]
    for method, tail, body in (("GET", "", None), ("POST", "/parts", {"part_numbers": [1]}), ("DELETE", "", None)):
        answered, problem = await shared_api.call(method, path_of(upload, tail), json=body)
        assert (answered, problem["code"]) == (409, "upload_ended")


async def test_completion_can_be_repeated_after_a_lost_response(shared_api: RunningApi) -> None:
    upload = await begin(shared_api, size=3)
    _, etag = await put((await part_urls(shared_api, upload, [1]))[0], FILE[:3])
    await shared_api.service.storage.write(
        shared_api.service.settings.output_bucket, upload["s3_key"], FILE[:3], "video/mp4"
    )
    status, asset = await complete(shared_api, upload, [{"part_number": 1, "etag": etag}])
    assert (status, asset["status"]) == (200, "uploaded")


async def test_a_part_of_another_length_is_refused(shared_api: RunningApi) -> None:
    upload = await begin(shared_api, size=3)
    [link] = await part_urls(shared_api, upload, [1])
    assert link["size"] == 3
    assert (await put(link, FILE[:4]))[0] == 403


@pytest.mark.parametrize(
    "parts",
    [
        [{"part_number": 1, "etag": "x"}],
        [{"part_number": 1, "etag": "0" * 32}, {"part_number": 2, "etag": "0" * 32}, {"part_number": 3, "etag": "0"}],
        [{"part_number": 3, "etag": "0" * 32}, {"part_number": 2, "etag": "0" * 32}, {"part_number": 1, "etag": "0"}],
    ],
)
async def test_a_completion_without_all_its_parts_is_a_conflict(shared_api: RunningApi, parts: list[Any]) -> None:
    upload = await begin(shared_api)
    status, problem = await complete(shared_api, upload, parts)
    assert (status, problem["code"]) == (409, "parts_missing")


@pytest.mark.parametrize("numbers", [[], [0], [4], [10_001], ["1"], list(range(1, 102)), None])
async def test_invalid_part_numbers_are_refused(shared_api: RunningApi, numbers: Any) -> None:
    upload = await begin(shared_api)
    status, problem = await shared_api.call("POST", path_of(upload, "/parts"), json={"part_numbers": numbers})
    assert (status, problem["code"]) == (422, "invalid_request")


async def test_only_the_caller_that_began_an_upload_may_use_it(shared_api: RunningApi) -> None:
    upload = await begin(shared_api)
    for subject, claims in (("doctor-2", {}), ("ms-6", {"role": "service"}), ("root", {"role": "admin"})):
        for method, tail, body in (
            ("GET", "", None),
            ("POST", "/parts", {"part_numbers": [1]}),
            ("POST", "/complete", {"parts": [{"part_number": 1, "etag": "x"}]}),
            ("DELETE", "", None),
        ):
            status, problem = await shared_api.call(method, path_of(upload, tail), subject, json=body, claims=claims)
            assert (status, problem["code"]) == (404, "not_found")


async def test_single_put_upload_has_no_parts(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    assert (await shared_api.call("GET", path_of(slot)))[1]["code"] == "not_found"


async def test_an_idempotency_key_begins_one_upload(shared_api: RunningApi) -> None:
    headers = {"Idempotency-Key": "film-1"}
    answers = await asyncio.gather(
        *(shared_api.call("POST", f"{MEDIA}/upload/multipart", json=FILM, headers=headers) for _ in range(4))
    )
    assert [status for status, _ in answers] == [201] * 4
    assert len({upload["asset_id"] for _, upload in answers}) == 1
    await send(shared_api, answers[0][1], [3])
    _, again = await shared_api.call("POST", f"{MEDIA}/upload/multipart", json=FILM, headers=headers)
    assert [part["part_number"] for part in again["parts"]] == [3]


@pytest.mark.parametrize("by", ["abort", "delete"])
async def test_abort_and_delete_end_the_upload(api: RunningApi, by: str) -> None:
    upload = await begin(api)
    [link] = await part_urls(api, upload, [3])
    assert (await put(link, FILE[:SIZE][16 * MIB :]))[0] == 200
    upload_id = await api.service.database.fetchval("SELECT upload_id FROM assets")
    path = path_of(upload) if by == "abort" else f"{MEDIA}/assets/{upload['asset_id']}"
    assert (await api.call("DELETE", path))[0] == 204
    assert (await api.call("DELETE", path))[0] == 204
    assert (await put(link, FILE[:SIZE][16 * MIB :]))[0] == 404
    target = MultipartTarget(api.service.settings.output_bucket, upload["s3_key"], upload_id)
    await api.service.parts.abort(target)  # to abort an ended upload is no error
    _, asset = await api.call("GET", f"{MEDIA}/assets/{upload['asset_id']}")
    assert asset["status"] == "deleted"
    assert (await complete(api, upload, [{"part_number": 1, "etag": "x"}]))[0] == 404


async def test_upload_that_the_bucket_lifecycle_aborted_has_ended(shared_api: RunningApi) -> None:
    upload = await begin(shared_api, size=3)
    upload_id = await shared_api.service.database.fetchval(
        "SELECT upload_id FROM assets WHERE asset_id = $1", UUID(upload["asset_id"])
    )
    await shared_api.service.parts.abort(
        MultipartTarget(shared_api.service.settings.output_bucket, upload["s3_key"], upload_id)
    )
    for method, tail, body in (("GET", "", None), ("POST", "/complete", {"parts": [{"part_number": 1, "etag": "x"}]})):
        status, problem = await shared_api.call(method, path_of(upload, tail), json=body)
        assert (status, problem["code"]) == (409, "upload_ended")


@pytest.mark.parametrize("path", ["upload", "upload/multipart"])
async def test_what_the_scan_would_reject_for_its_size_is_refused(start_api: StartApi, path: str) -> None:
    audio = FILM | {"asset_type": "audio", "content_type": "audio/mpeg"}
    too_large, largest = {"size": 3001}, {"size": 3000}
    async with start_api(scan_max_bytes=3000) as api:
        for body in (FILM, audio):
            status, problem = await api.call("POST", f"{MEDIA}/{path}", json=body | too_large)
            assert (status, problem["code"]) == (413, "too_large_to_scan")
            assert "3000 bytes" in problem["detail"]
        assert (await api.call("GET", f"{MEDIA}/assets"))[1]["items"] == []
        assert (await api.call("POST", f"{MEDIA}/{path}", json=FILM | largest))[0] == 201
    async with start_api(scan_max_bytes=3000, unscannable_video="reencode") as api:
        assert (await api.call("POST", f"{MEDIA}/{path}", json=FILM | too_large))[0] == 201
        assert (await api.call("POST", f"{MEDIA}/{path}", json=audio | too_large))[0] == 413


async def test_size_is_required_and_limited(shared_api: RunningApi) -> None:
    for size, status in ((None, 422), (0, 422), (50 * 1024 * MIB + 1, 413)):
        assert (await shared_api.call("POST", f"{MEDIA}/upload/multipart", json=FILM | {"size": size}))[0] == status


async def test_single_put_is_limited_to_the_size_that_s3_accepts(start_api: StartApi) -> None:
    async with start_api(unscannable_video="reencode") as api:
        big = FILM | {"size": 40 * 1024 * MIB}
        status, problem = await api.call("POST", f"{MEDIA}/upload", json=big)
        assert (status, problem["code"]) == (413, "too_large")
        assert "/upload/multipart" in problem["detail"]
        upload = await begin(api, size=50 * 1024 * MIB)
        assert (upload["part_size"], upload["part_count"]) == (8 * MIB, 6400)
        [link] = await part_urls(api, upload, [6400])
        assert link["size"] == 8 * MIB


async def test_client_that_cuts_the_file_itself_announces_the_size_of_a_part(shared_api: RunningApi) -> None:
    chosen = 5 * MIB + 1  # no whole MiB: Uppy divides the size
    upload = await begin(shared_api, part_size=chosen)
    assert (upload["part_size"], upload["part_count"]) == (chosen, 4)
    parts = await send(shared_api, upload, [1, 2, 3, 4])
    status, asset = await complete(shared_api, upload, parts)
    assert (status, asset["size"]) == (200, SIZE)


@pytest.mark.parametrize(("size", "chosen"), [(SIZE, 5 * MIB - 1), (SIZE, 5 * 1024**3 + 1), (60 * 1024**3, 5 * MIB)])
async def test_size_of_a_part_that_the_storage_does_not_take_is_refused(
    shared_api: RunningApi, size: int, chosen: int
) -> None:
    body = FILM | {"size": size, "part_size": chosen}
    status, problem = await shared_api.call("POST", f"{MEDIA}/upload/multipart", json=body)
    assert (status, problem["code"]) == (422, "invalid_request")
    assert "part_size" in problem["detail"]
