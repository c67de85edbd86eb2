"""Access: every caller, at every endpoint, in every status of the asset."""

import base64
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from media.asset import Rendition, Status
from tests.integration.api.conftest import MEDIA, RunningApi, bearer

CALLERS = {
    "owner": bearer("doctor-1"),
    "other": bearer("doctor-2"),
    "service": bearer("ms-6", role="service"),
    "admin": bearer("root", role="admin"),
    "nobody": {},
    "forger": {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJkb2N0b3ItMSIsImV4cCI6NDEwMjQ0NDgwMH0."},
}
ENDPOINTS = (
    ("GET", "/assets/{id}"),
    ("GET", "/assets/{id}/timeline"),
    ("GET", "/assets/{id}/url"),
    ("POST", "/upload/confirm"),
    ("PATCH", "/assets/{id}"),
    ("DELETE", "/assets/{id}"),
)
URL = {Status.READY: 200, Status.DELETED: 404}
CONFIRM = {Status.PENDING: 409, Status.EXPIRED: 409, Status.DELETED: 404}


def expected(caller: str, method: str, path: str, status: Status) -> int:
    if caller in {"nobody", "forger"}:
        return 401
    if caller == "other":
        return 404
    if path.endswith("/url"):
        return URL.get(status, 409)
    if path.endswith("/confirm"):
        return CONFIRM.get(status, 200)
    return 404 if (method, status) == ("PATCH", Status.DELETED) else 200


@pytest.mark.parametrize("status", list(Status))
async def test_access_of_every_caller_in_every_status(api: RunningApi, status: Status) -> None:
    slot = await api.announce()
    key = f"public/image/doctor-1/{slot['asset_id']}/image-1/w150.webp"
    if status not in {Status.PENDING, Status.EXPIRED}:
        await api.ready(slot["asset_id"], Rendition("w150", key, "image/webp", 9, 150, 100))
    await api.service.database.execute("UPDATE assets SET status = $1", status)
    for method, path in ENDPOINTS:
        for caller in ("nobody", "forger", "other", "owner", "service", "admin"):
            want = (
                204
                if method == "DELETE" and caller in {"owner", "service", "admin"}
                else expected(caller, method, path, status)
            )
            body = {"asset_id": slot["asset_id"]} if path.endswith("/confirm") else {} if method == "PATCH" else None
            target = MEDIA + path.format(id=slot["asset_id"])
            async with api.http.request(method, target, json=body, headers=CALLERS[caller]) as answer:
                assert answer.status == want, (method, path, caller, status, await answer.text())
                if want >= 400:
                    assert answer.content_type == "application/problem+json"
                    said = await answer.text()
                    assert "doctor-1" not in said
                    assert caller != "other" or slot["asset_id"] not in said


@pytest.mark.parametrize("spell", [str.upper, lambda text: text.replace("-", "")], ids=["upper case", "no hyphens"])
async def test_ids_are_taken_as_other_platforms_spell_them(shared_api: RunningApi, spell: Callable[[str], str]) -> None:
    slot = await shared_api.announce()
    given = spell(slot["asset_id"])
    for what in ("", "/timeline"):
        assert (await shared_api.call("GET", f"{MEDIA}/assets/{given}{what}"))[0] == 200
    status, problem = await shared_api.call("POST", f"{MEDIA}/upload/confirm", json={"asset_id": given})
    assert (status, problem["code"]) == (409, "not_uploaded")
    assert (await shared_api.call("DELETE", f"{MEDIA}/assets/{given}"))[0] == 204
    status, asset = await shared_api.call("GET", f"{MEDIA}/assets/{given}")
    assert (asset["asset_id"], asset["status"]) == (slot["asset_id"], "deleted")


async def test_strangers_cannot_tell_an_asset_from_none(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    for path in ("", "/url", "/timeline"):
        answers = [
            await shared_api.call("GET", f"{MEDIA}/assets/{asset_id}{path}", "doctor-2")
            for asset_id in (slot["asset_id"], uuid4())
        ]
        for _, body in answers:
            del body["request_id"]
        assert answers[0] == answers[1]


async def test_listing_holds_only_assets_that_the_caller_may_see(api: RunningApi) -> None:
    mine = [await api.announce() for _ in range(3)]
    other = await api.announce("doctor-2")
    for subject, claims, ids in (
        ("doctor-1", {}, mine),
        ("doctor-2", {}, [other]),
        ("doctor-3", {}, []),
        ("ms-6", {"role": "service"}, [*mine, other]),
    ):
        _, page = await api.call("GET", f"{MEDIA}/assets", subject, claims=claims)
        assert {item["asset_id"] for item in page["items"]} == {slot["asset_id"] for slot in ids}
        assert page["next_cursor"] is None


async def test_pages_follow_each_other_without_gaps(api: RunningApi) -> None:
    made = [(await api.announce())["asset_id"] for _ in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        _, page = await api.call("GET", f"{MEDIA}/assets?limit=3{cursor}")
        seen += [item["asset_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
        await api.announce()  # newer assets do not move older ones
    assert seen == made[::-1]


async def test_lists_are_filtered(api: RunningApi) -> None:
    await api.announce()
    film = await api.announce(asset_type="video", content_type="video/mp4")
    gone = await api.announce()
    await api.call("DELETE", f"{MEDIA}/assets/{gone['asset_id']}")
    for query, count in (("", 2), ("?asset_type=video", 1), ("?status=deleted", 1), ("?status=ready", 0)):
        _, page = await api.call("GET", f"{MEDIA}/assets{query}")
        assert len(page["items"]) == count, query
    assert film["asset_id"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "status=lost",
        "asset_type=%00",
        "cursor=rubbish",
        "cursor=%ff%fe",
        "cursor=" + base64.urlsafe_b64encode(b"2020-01-01T00:00:00 " + str(UUID(int=1)).encode()).decode(),
        "cursor=" + base64.urlsafe_b64encode(b"9999-12-31T23:59:59-23:00 " + str(UUID(int=1)).encode()).decode(),
        "cursor=",
        "limit=1&limit=2",
        "surprise=1",
    ],
)
async def test_malformed_queries_are_refused(shared_api: RunningApi, query: str) -> None:
    status, problem = await shared_api.call("GET", f"{MEDIA}/assets?{query}")
    assert (status, problem["code"]) == (422, "invalid_request")


async def test_unchanged_asset_is_answered_with_304(api: RunningApi) -> None:
    slot = await api.announce()
    path = f"{MEDIA}/assets/{slot['asset_id']}"
    headers = bearer("doctor-1")
    answer = await api.http.get(path, headers=headers)
    tag = answer.headers["ETag"]
    for given in (tag, f'"x", W/{tag}', "*"):
        again = await api.http.get(path, headers=headers | {"If-None-Match": given})
        assert (again.status, await again.read()) == (304, b"")
        assert again.headers["ETag"] == tag
    await api.service.database.execute("UPDATE assets SET progress = 7")
    assert (await api.http.get(path, headers=headers | {"If-None-Match": tag})).status == 200


async def effects(api: RunningApi) -> list[tuple[str, str, str]]:
    records = await api.service.database.fetch("SELECT kind, target, body FROM outbox ORDER BY id")
    return [(record["kind"], record["target"], record["body"]) for record in records]


async def test_delete_removes_our_files_and_the_job_and_can_be_repeated(api: RunningApi) -> None:
    slot = await api.announce(asset_type="video", content_type="video/mp4")
    asset_id = UUID(slot["asset_id"])
    await api.service.database.execute(
        "INSERT INTO stages (asset_id, stage, state, job_id) VALUES ($1, 'transcode', 'waiting', 'job-1')", asset_id
    )
    for _ in range(3):
        assert (await api.call("DELETE", f"{MEDIA}/assets/{asset_id}"))[0] == 204
    bucket = api.service.settings.output_bucket
    tail = f"/video/doctor-1/{asset_id}/"
    assert await effects(api) == [
        *(("delete_prefix", bucket, f'{{"prefix": "{top}{tail}"}}') for top in ("public", "processed", "private")),
        ("delete_key", bucket, f'{{"key": "{slot["s3_key"]}"}}'),
        ("cancel_job", "job-1", "{}"),
    ]
    _, asset = await api.call("GET", f"{MEDIA}/assets/{asset_id}")
    assert asset["status"] == "deleted"
    _, story = await api.call("GET", f"{MEDIA}/assets/{asset_id}/timeline")
    assert [item["code"] for item in story["items"]] == ["created", "deleted"]


async def test_delete_keeps_the_source_of_a_recording(api: RunningApi) -> None:
    slot = await api.announce(asset_type="video", content_type="video/mp4")
    await api.service.database.execute("UPDATE assets SET bucket = 'webinars', key = 'talks/1.mp4'")
    await api.call("DELETE", f"{MEDIA}/assets/{slot['asset_id']}")
    assert {kind for kind, _, _ in await effects(api)} == {"delete_prefix"}


async def test_subject_with_control_characters_is_refused(shared_api: RunningApi) -> None:
    status, problem = await shared_api.call("GET", f"{MEDIA}/assets", "a\0b")
    assert (status, problem["code"]) == (403, "owner_id_not_allowed")
