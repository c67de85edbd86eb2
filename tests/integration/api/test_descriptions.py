"""What an asset is called and what is kept with it: at the upload, afterwards, and to whom it is shown."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.integration.api.conftest import MEDIA, RunningApi

PHOTO = {"asset_type": "image", "content_type": "image/jpeg", "original_filename": "photo.jpg"}
TOLD = {"title": "Schulter, links", "external_id": "lesson:7", "metadata": {"course": "ortho", "week": "3"}}
SERVICE = {"claims": {"role": "service"}}


async def show(api: RunningApi, asset_id: str, subject: str = "doctor-1", **options: Any) -> Any:
    status, asset = await api.call("GET", f"{MEDIA}/assets/{asset_id}", subject, **options)
    assert status == 200, asset
    return asset


@pytest.mark.parametrize("path", ["upload", "upload/multipart"])
async def test_asset_shows_what_its_upload_said_of_it(shared_api: RunningApi, path: str) -> None:
    status, slot = await shared_api.call("POST", f"{MEDIA}/{path}", json={**PHOTO, "size": 9, **TOLD})
    assert status == 201, slot
    asset = await show(shared_api, slot["asset_id"])
    assert {name: asset[name] for name in TOLD} == TOLD


async def test_asset_without_a_description_has_none(shared_api: RunningApi) -> None:
    asset = await show(shared_api, (await shared_api.announce(title=None, metadata=None))["asset_id"])
    assert (asset["title"], asset["external_id"], asset["metadata"]) == (None, None, {})


async def test_owner_is_shown_to_the_roles_alone(shared_api: RunningApi) -> None:
    asset_id = (await shared_api.announce("doctor-9"))["asset_id"]
    assert (await show(shared_api, asset_id, "doctor-9"))["owner_id"] is None
    for role in ("service", "admin"):
        assert (await show(shared_api, asset_id, "ms-6", claims={"role": role}))["owner_id"] == "doctor-9"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"title": ""}, "title"),
        ({"title": "x" * 256}, "title"),
        ({"title": "\u200b"}, "title"),
        ({"external_id": "x" * 201}, "external_id"),
        ({"external_id": "a\nb"}, "external_id"),
        ({"metadata": {"a b": "x"}}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a": "\0"}}, "metadata"),
        ({"metadata": {"a": "x" * 4089}}, "metadata"),
        ({"metadata": {str(number): "" for number in range(51)}}, "metadata"),
    ],
)
async def test_unusable_descriptions_are_refused(shared_api: RunningApi, fields: Any, place: str) -> None:
    status, problem = await shared_api.call("POST", f"{MEDIA}/upload", json=PHOTO | fields)
    assert (status, problem["code"]) == (422, "invalid_request")
    assert problem["errors"][0]["field"].startswith(place)


async def test_idempotency_key_is_compared_with_the_first_request(shared_api: RunningApi) -> None:
    headers = {"Idempotency-Key": "described"}

    async def announce(**fields: Any) -> tuple[int, Any]:
        return await shared_api.call("POST", f"{MEDIA}/upload", json={**PHOTO, **TOLD, **fields}, headers=headers)

    status, first = await announce()
    assert status == 201
    for other in ({"title": "other"}, {"external_id": None}, {"metadata": {"course": "ortho"}}, {"size": 1}):
        status, problem = await announce(**other)
        assert (status, problem["code"]) == (422, "idempotency_key_reused"), other
    status, again = await announce(metadata={"week": "3", "course": "ortho"})
    assert (status, again["asset_id"]) == (201, first["asset_id"])
    # The scan writes the real content type.
    await shared_api.service.database.execute(
        "UPDATE assets SET content_type = 'image/png' WHERE asset_id = $1", UUID(first["asset_id"])
    )
    assert (await announce())[0] == 201


async def test_idempotency_key_of_the_release_before_goes_on(shared_api: RunningApi) -> None:
    headers = {"Idempotency-Key": "from-before"}
    _, first = await shared_api.call("POST", f"{MEDIA}/upload", json=PHOTO, headers=headers)
    await shared_api.service.database.execute(
        "UPDATE assets SET announced = NULL WHERE asset_id = $1", UUID(first["asset_id"])
    )
    answers = await asyncio.gather(
        *(
            shared_api.call("POST", f"{MEDIA}/upload", json=PHOTO | {"size": size}, headers=headers)
            for size in (None, 9)
        )
    )
    assert [status for status, _ in answers] == [201, 422]
