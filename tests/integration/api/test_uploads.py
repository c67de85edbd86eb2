"""Uploads as a client does them: announce, PUT over plain HTTP, confirm."""

from typing import Any

import aiohttp

from tests.integration.api.conftest import MEDIA, Door

PHOTO = b"\xff\xd8 not really a picture"


async def put(slot: Any, body: bytes, **headers: str) -> int:
    sent = slot["headers"] | headers
    async with aiohttp.ClientSession() as session, session.put(slot["upload_url"], data=body, headers=sent) as answer:
        return answer.status


async def test_a_file_is_announced_put_and_confirmed(door: Door) -> None:
    slot = await door.announce(size=len(PHOTO))
    assert slot["s3_key"] == f"uploads/image/doctor-1/{slot['asset_id']}/photo.jpg"
    assert slot["expires_in"] == 900
    assert slot["headers"] == {"Content-Type": "image/jpeg", "If-None-Match": "*"}
    assert await put(slot, PHOTO) == 200
    status, asset = await door.call("POST", f"{MEDIA}/upload/confirm", json={"asset_id": slot["asset_id"]})
    assert status == 200
    assert asset["status"] == "uploaded"
    assert asset["size"] == len(PHOTO)


async def test_a_put_happens_once(door: Door) -> None:
    slot = await door.announce()
    assert await put(slot, PHOTO) == 200
    assert await put(slot, b"something else") == 412


async def test_a_put_with_another_type_is_refused(door: Door) -> None:
    slot = await door.announce()
    assert await put(slot, PHOTO, **{"Content-Type": "text/html"}) == 403


async def test_a_put_without_the_precondition_is_refused(door: Door) -> None:
    slot = await door.announce()
    del slot["headers"]["If-None-Match"]
    assert await put(slot, PHOTO) == 403


async def test_a_put_of_another_length_is_refused(door: Door) -> None:
    slot = await door.announce(size=len(PHOTO))
    assert await put(slot, PHOTO + b"!") == 403
