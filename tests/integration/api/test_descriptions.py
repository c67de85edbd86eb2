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
        ({"external_id": "  "}, "external_id"),
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


async def described(api: RunningApi, **fields: Any) -> str:
    return str((await api.announce(**TOLD | fields))["asset_id"])


async def patch(api: RunningApi, asset_id: str, body: Any, **options: Any) -> tuple[int, Any]:
    return await api.call("PATCH", f"{MEDIA}/assets/{asset_id}", json=body, **options)


async def test_patch_changes_what_it_names_and_null_clears(shared_api: RunningApi) -> None:
    asset_id = await described(shared_api)
    status, asset = await patch(shared_api, asset_id, {"title": "Schulter, rechts", "external_id": None})
    assert (status, asset["title"], asset["external_id"]) == (200, "Schulter, rechts", None)
    assert asset["metadata"] == TOLD["metadata"]
    assert await show(shared_api, asset_id) == asset
    status, asset = await patch(shared_api, asset_id, {"title": None, "metadata": None})
    assert (status, asset["title"], asset["metadata"]) == (200, None, {})


async def test_title_is_one_line_whose_words_stay_apart(shared_api: RunningApi) -> None:
    asset_id = await described(shared_api, title=" Schulter\n\tlinks\u202e ")
    assert (await show(shared_api, asset_id))["title"] == "Schulter links"
    _, asset = await patch(shared_api, asset_id, {"title": "Knie\r\nrechts"})
    assert asset["title"] == "Knie rechts"


async def test_metadata_are_merged_key_by_key(shared_api: RunningApi) -> None:
    asset_id = await described(shared_api)
    _, asset = await patch(shared_api, asset_id, {"metadata": {"week": None, "course": "knee", "room": "7"}})
    assert asset["metadata"] == {"course": "knee", "room": "7"}
    _, asset = await patch(shared_api, asset_id, {"metadata": {}})
    assert asset["metadata"] == {"course": "knee", "room": "7"}


async def test_patch_is_taken_as_merge_patch_and_as_json(shared_api: RunningApi) -> None:
    asset_id = await described(shared_api)
    for number, kind in enumerate(("application/merge-patch+json", "application/json")):
        headers = {"Content-Type": kind}
        status, asset = await patch(shared_api, asset_id, {"title": str(number)}, headers=headers)
        assert (status, asset["title"]) == (200, str(number))
    for kind in ("text/plain", "application/json-patch+json"):
        status, problem = await patch(shared_api, asset_id, {}, headers={"Content-Type": kind})
        assert (status, problem["code"]) == (415, "unsupported_media_type")


async def test_patch_that_changes_nothing_leaves_no_trace(shared_api: RunningApi) -> None:
    asset_id = await described(shared_api)
    before = await show(shared_api, asset_id)
    for body in ({}, TOLD, {"metadata": {"unknown": None}}):
        assert await patch(shared_api, asset_id, body) == (200, before)
    _, after = await patch(shared_api, asset_id, {"title": "other"})
    assert after["updated_at"] > before["updated_at"]


@pytest.mark.parametrize(
    "body",
    [
        {"surprise": 1},
        {"status": "ready"},
        {"title": ""},
        {"title": 7},
        {"external_id": "x" * 201},
        {"metadata": {"a b": "x"}},
        {"metadata": {"a": 1}},
        {"metadata": []},
        [],
        "text",
    ],
)
async def test_unusable_patches_are_refused(shared_api: RunningApi, body: Any) -> None:
    status, problem = await patch(shared_api, await described(shared_api), body)
    assert (status, problem["code"]) == (422, "invalid_request")


async def test_metadata_keep_their_limits_when_they_are_merged(shared_api: RunningApi) -> None:
    asset_id = await described(shared_api, metadata={"a": 'ä"\n\\\t\x01' * 100})
    # {"a":"…"} takes 8 bytes and each of these 100 groups 2 + 2 + 2 + 2 + 2 + 6; ,"b":"…" takes 7.
    left = 4096 - 8 - 1600 - 7
    status, problem = await patch(shared_api, asset_id, {"metadata": {"b": "x" * (left + 1)}})
    assert (status, problem["code"], problem["errors"][0]["field"]) == (422, "invalid_request", "metadata")
    assert (await show(shared_api, asset_id))["metadata"].keys() == {"a"}
    assert (await patch(shared_api, asset_id, {"metadata": {"b": "x" * left}}))[0] == 200
    asset_id = await described(shared_api, metadata={str(number): "" for number in range(50)})
    assert (await patch(shared_api, asset_id, {"metadata": {"more": ""}}))[0] == 422
    assert (await patch(shared_api, asset_id, {"metadata": {"more": "", "0": None}}))[0] == 200
    others = {str(number): None for number in range(1, 50)} | {f"new{number}": "" for number in range(49)}
    assert (await patch(shared_api, asset_id, {"metadata": others}))[0] == 200


async def test_patches_at_once_are_all_applied(shared_api: RunningApi) -> None:
    asset_id = await described(shared_api, metadata={})
    answers = await asyncio.gather(
        *(patch(shared_api, asset_id, {"metadata": {f"key{number}": str(number)}}) for number in range(20))
    )
    assert {status for status, _ in answers} == {200}
    assert len((await show(shared_api, asset_id))["metadata"]) == 20


async def test_owner_and_roles_may_patch_and_nobody_else(shared_api: RunningApi) -> None:
    asset_id = await described(shared_api)
    status, problem = await patch(shared_api, asset_id, {"title": "mine"}, subject="doctor-2")
    assert (status, problem["code"]) == (404, "not_found")
    status, asset = await patch(shared_api, asset_id, {"title": "ours"}, subject="ms-6", **SERVICE)
    assert (status, asset["title"], asset["owner_id"]) == (200, "ours", "doctor-1")


async def test_deleted_asset_keeps_its_description(shared_api: RunningApi) -> None:
    asset_id = await described(shared_api)
    await shared_api.call("DELETE", f"{MEDIA}/assets/{asset_id}")
    status, problem = await patch(shared_api, asset_id, {"title": "other"})
    assert (status, problem["code"]) == (404, "deleted")
    assert (await show(shared_api, asset_id))["title"] == TOLD["title"]


async def test_idempotency_key_is_not_compared_with_what_a_patch_made(shared_api: RunningApi) -> None:
    body, headers = {**PHOTO, **TOLD}, {"Idempotency-Key": "patched"}
    _, first = await shared_api.call("POST", f"{MEDIA}/upload", json=body, headers=headers)
    _, patched = await patch(shared_api, first["asset_id"], {"title": "patched", "metadata": None})
    status, again = await shared_api.call("POST", f"{MEDIA}/upload", json=body, headers=headers)
    assert (status, again["asset_id"]) == (201, first["asset_id"])
    assert await show(shared_api, first["asset_id"]) == patched
    status, _ = await shared_api.call("POST", f"{MEDIA}/upload", json=body | {"title": "patched"}, headers=headers)
    assert status == 422
