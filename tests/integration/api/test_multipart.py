"""Uploads in parts as a page does them: begun, broken off, picked up again after a reload, completed."""

import asyncio
import hashlib
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from media.asset import ObjectVersion
from media.aws.s3_multipart import MultipartTarget
from tests.integration.api.conftest import MEDIA, Door

MIB = 1024 * 1024
SIZE = 17 * MIB + 5
FILE = hashlib.shake_256(b"a film").digest(MIB) * 18
FILM = {"asset_type": "video", "content_type": "video/mp4", "original_filename": "film.mp4", "size": SIZE}


def bytes_of(number: int, part_size: int) -> bytes:
    return FILE[:SIZE][(number - 1) * part_size : number * part_size]


async def begin(door: Door, subject: str = "doctor-1", **fields: Any) -> Any:
    status, begun = await door.call("POST", f"{MEDIA}/upload/multipart", subject, json=FILM | fields)
    assert status == 201, begun
    return begun


def path_of(begun: Any, tail: str = "") -> str:
    return f"{MEDIA}/upload/multipart/{begun['asset_id']}{tail}"


async def links(door: Door, begun: Any, numbers: list[int]) -> list[Any]:
    status, answer = await door.call("POST", path_of(begun, "/parts"), json={"part_numbers": numbers})
    assert status == 200, answer
    items: list[Any] = answer["items"]
    return items


async def put(link: Any, body: bytes) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.put(link["url"], data=body) as answer:
        return answer.status, answer.headers.get("ETag", "")


async def send(door: Door, begun: Any, numbers: list[int]) -> list[dict[str, Any]]:
    """Puts some parts; what the completion wants of them."""
    parts = []
    for link in await links(door, begun, numbers):
        status, etag = await put(link, bytes_of(link["part_number"], begun["part_size"]))
        assert status == 200
        parts.append({"part_number": link["part_number"], "etag": etag})
    return parts


async def complete(door: Door, begun: Any, parts: list[Any], subject: str = "doctor-1") -> tuple[int, Any]:
    return await door.call("POST", path_of(begun, "/complete"), subject, json={"parts": parts})


async def test_a_film_is_resumed_after_a_reload_and_completed(busy: Door) -> None:
    begun = await begin(busy)
    assert (begun["part_size"], begun["part_count"], begun["parts"]) == (8 * MIB, 3, [])
    await send(busy, begun, [2])
    # The page was reloaded: all that it still knows is the asset.
    status, again = await busy.call("GET", path_of(begun))
    assert status == 200
    assert [(part["part_number"], part["size"]) for part in again["parts"]] == [(2, 8 * MIB)]
    parts = [{"part_number": part["part_number"], "etag": part["etag"]} for part in again["parts"]]
    parts += await send(busy, again, [1, 3])
    status, asset = await complete(busy, begun, sorted(parts, key=lambda part: part["part_number"]))
    assert (status, asset["status"], asset["size"]) == (200, "uploaded", SIZE)
    version = ObjectVersion(busy.service.settings.output_bucket, begun["s3_key"])
    assert await busy.service.storage.sha256(version) == hashlib.sha256(FILE[:SIZE]).hexdigest()
    known = await busy.service.storage.head(version)
    assert known
    assert known.content_type == "video/mp4"


async def test_completing_can_be_repeated_and_ends_the_upload(busy: Door) -> None:
    begun = await begin(busy, size=3)
    status, etag = await put((await links(busy, begun, [1]))[0], FILE[:3])
    assert status == 200
    parts = [{"part_number": 1, "etag": etag}]
    first, second = await asyncio.gather(complete(busy, begun, parts), complete(busy, begun, parts))
    assert (first[0], second[0]) == (200, 200)
    assert await complete(busy, begun, parts) == (200, first[1])
    codes = [entry.code for entry in await busy.service.assets.timeline(UUID(begun["asset_id"]))]
    assert codes == ["created", "uploaded"]
    for method, tail, body in (("GET", "", None), ("POST", "/parts", {"part_numbers": [1]}), ("DELETE", "", None)):
        answered, problem = await busy.call(method, path_of(begun, tail), json=body)
        assert (answered, problem["code"]) == (409, "upload_ended")


async def test_a_completion_whose_answer_was_lost_is_picked_up(busy: Door) -> None:
    begun = await begin(busy, size=3)
    _, etag = await put((await links(busy, begun, [1]))[0], FILE[:3])
    await busy.service.storage.write(busy.service.settings.output_bucket, begun["s3_key"], FILE[:3], "video/mp4")
    status, asset = await complete(busy, begun, [{"part_number": 1, "etag": etag}])
    assert (status, asset["status"]) == (200, "uploaded")


async def test_a_part_of_another_length_is_refused(busy: Door) -> None:
    begun = await begin(busy, size=3)
    [link] = await links(busy, begun, [1])
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
async def test_a_completion_without_all_its_parts_is_a_conflict(busy: Door, parts: list[Any]) -> None:
    begun = await begin(busy)
    status, problem = await complete(busy, begun, parts)
    assert (status, problem["code"]) == (409, "parts_missing")


@pytest.mark.parametrize("numbers", [[], [0], [4], [10_001], ["1"], list(range(1, 102)), None])
async def test_part_numbers_that_are_none(busy: Door, numbers: Any) -> None:
    begun = await begin(busy)
    status, problem = await busy.call("POST", path_of(begun, "/parts"), json={"part_numbers": numbers})
    assert (status, problem["code"]) == (422, "invalid_request")


async def test_an_upload_is_its_beginners_alone(busy: Door) -> None:
    begun = await begin(busy)
    for subject, claims in (("doctor-2", {}), ("ms-6", {"role": "service"}), ("root", {"role": "admin"})):
        for method, tail, body in (
            ("GET", "", None),
            ("POST", "/parts", {"part_numbers": [1]}),
            ("POST", "/complete", {"parts": [{"part_number": 1, "etag": "x"}]}),
            ("DELETE", "", None),
        ):
            status, problem = await busy.call(method, path_of(begun, tail), subject, json=body, claims=claims)
            assert (status, problem["code"]) == (404, "not_found")


async def test_what_was_announced_for_one_put_has_no_parts(busy: Door) -> None:
    slot = await busy.announce()
    assert (await busy.call("GET", path_of(slot)))[1]["code"] == "not_found"


async def test_an_idempotency_key_begins_one_upload(busy: Door) -> None:
    headers = {"Idempotency-Key": "film-1"}
    answers = await asyncio.gather(
        *(busy.call("POST", f"{MEDIA}/upload/multipart", json=FILM, headers=headers) for _ in range(4))
    )
    assert [status for status, _ in answers] == [201] * 4
    assert len({begun["asset_id"] for _, begun in answers}) == 1
    await send(busy, answers[0][1], [3])
    _, again = await busy.call("POST", f"{MEDIA}/upload/multipart", json=FILM, headers=headers)
    assert [part["part_number"] for part in again["parts"]] == [3]


@pytest.mark.parametrize("by", ["abort", "delete"])
async def test_what_is_aborted_is_gone(door: Door, by: str) -> None:
    begun = await begin(door)
    [link] = await links(door, begun, [3])
    assert (await put(link, FILE[:SIZE][16 * MIB :]))[0] == 200
    upload_id = await door.service.database.fetchval("SELECT upload_id FROM assets")
    target = path_of(begun) if by == "abort" else f"{MEDIA}/assets/{begun['asset_id']}"
    assert (await door.call("DELETE", target))[0] == 204
    assert (await door.call("DELETE", target))[0] == 204
    assert (await put(link, FILE[:SIZE][16 * MIB :]))[0] == 404
    upload = MultipartTarget(door.service.settings.output_bucket, begun["s3_key"], upload_id)
    await door.service.parts.abort(upload)  # one that has ended is no error
    _, asset = await door.call("GET", f"{MEDIA}/assets/{begun['asset_id']}")
    assert asset["status"] == "deleted"
    assert (await complete(door, begun, [{"part_number": 1, "etag": "x"}]))[0] == 404


async def test_an_upload_that_the_lifecycle_swept_has_ended(busy: Door) -> None:
    begun = await begin(busy, size=3)
    upload_id = await busy.service.database.fetchval(
        "SELECT upload_id FROM assets WHERE asset_id = $1", UUID(begun["asset_id"])
    )
    await busy.service.parts.abort(MultipartTarget(busy.service.settings.output_bucket, begun["s3_key"], upload_id))
    for method, tail, body in (("GET", "", None), ("POST", "/complete", {"parts": [{"part_number": 1, "etag": "x"}]})):
        status, problem = await busy.call(method, path_of(begun, tail), json=body)
        assert (status, problem["code"]) == (409, "upload_ended")


async def test_sizes_are_needed_and_limited(busy: Door) -> None:
    for size, status in ((None, 422), (0, 422), (50 * 1024 * MIB + 1, 413)):
        assert (await busy.call("POST", f"{MEDIA}/upload/multipart", json=FILM | {"size": size}))[0] == status


async def test_one_put_takes_no_more_than_s3_does(busy: Door) -> None:
    big = FILM | {"size": 40 * 1024 * MIB}
    status, problem = await busy.call("POST", f"{MEDIA}/upload", json=big)
    assert (status, problem["code"]) == (413, "too_large")
    assert "/upload/multipart" in problem["detail"]
    begun = await begin(busy, size=50 * 1024 * MIB)
    assert (begun["part_size"], begun["part_count"]) == (8 * MIB, 6400)
    [link] = await links(busy, begun, [6400])
    assert link["size"] == 8 * MIB
