"""Many URLs in one call: each as by itself, in the order asked, in one statement."""

import time
from typing import Any
from uuid import UUID, uuid4

import pytest

from media.asset import Rendition, Status
from media.asset_store.database import Database
from tests.integration.api.conftest import MEDIA, RunningApi, bearer


async def picture(api: RunningApi, subject: str = "doctor-1", status: Status = Status.READY, **fields: Any) -> str:
    asset_id = str((await api.announce(subject, **fields))["asset_id"])
    key = f"public/image/{subject}/{asset_id}/image-1/"
    made = [Rendition(f"w{width}", f"{key}w{width}.webp", "image/webp", width, width, width) for width in (150, 640)]
    await api.ready(asset_id, *made, status=status)
    return asset_id


async def video(api: RunningApi) -> str:
    asset_id = str((await api.announce(asset_type="video", content_type="video/mp4"))["asset_id"])
    key = f"processed/video/doctor-1/{asset_id}/transcode-1/"
    await api.ready(
        asset_id,
        Rendition("hls", f"{key}hls/clip.m3u8", "application/vnd.apple.mpegurl", 9),
        Rendition("mp4", f"{key}clip.mp4", "video/mp4", 9),
    )
    return asset_id


async def ask(api: RunningApi, items: Any, subject: str = "doctor-1", **options: Any) -> tuple[int, Any]:
    return await api.call("POST", f"{MEDIA}/assets/urls", subject, json={"items": items}, **options)


async def test_each_is_answered_as_by_itself_and_in_order(shared_api: RunningApi) -> None:
    photo, film, scanned = await picture(shared_api), await video(shared_api), await picture(shared_api)
    await shared_api.service.database.execute(
        "INSERT INTO timeline (asset_id, stage, code) VALUES ($1, 'scan', 'clean')", UUID(scanned)
    )
    gone = await picture(shared_api)
    await shared_api.call("DELETE", f"{MEDIA}/assets/{gone}")
    items: list[dict[str, Any]] = [
        {"asset_id": photo, "rendition": "w150"},
        {"asset_id": film},
        {"asset_id": str(uuid4())},
        {"asset_id": photo},
        {"asset_id": film, "rendition": "mp4"},
        {"asset_id": film, "rendition": "w150"},
        {"asset_id": await picture(shared_api, "doctor-2")},
        {"asset_id": str((await shared_api.announce())["asset_id"])},
        {"asset_id": await picture(shared_api, status=Status.REJECTED)},
        {"asset_id": gone},
        {"asset_id": photo, "rendition": "original"},
        {"asset_id": scanned, "rendition": "original"},
        {"asset_id": photo, "rendition": "w150"},
    ]
    status, answer = await ask(shared_api, items)
    assert status == 200, answer
    assert len(answer["items"]) == len(items)
    for asked, got in zip(items, answer["items"], strict=True):
        name = f"?rendition={asked['rendition']}" if "rendition" in asked else ""
        status, alone = await shared_api.call("GET", f"{MEDIA}/assets/{asked['asset_id']}/url{name}")
        if status == 200:
            assert got == {"asset_id": asked["asset_id"], **alone}
        else:
            problem = {name: alone.get(name, "") for name in ("code", "title", "status", "detail")}
            assert got == {
                "asset_id": asked["asset_id"],
                "rendition": asked.get("rendition"),
                "problem": problem,
            }
    codes = [one["problem"]["code"] if "problem" in one else one["rendition"] for one in answer["items"]]
    assert codes == [
        "w150",
        "hls",
        "not_found",
        "w640",
        "mp4",
        "rendition_not_found",
        "not_found",
        "not_ready",
        "rejected",
        "deleted",
        "not_scanned_whole",
        "original",
        "w150",
    ]


async def test_a_hundred_urls_take_one_statement(shared_api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [await picture(shared_api, original_filename=f"{number}.jpg") for number in range(4)]
    items = [
        {"asset_id": photo, "rendition": name} for photo in photos for name in ("w150", "w640", "w1920", "original")
    ]
    statements: list[str] = []

    async def counted(database: Database, statement: str, *values: Any) -> Any:
        statements.append(statement)
        return await fetch(database, statement, *values)

    fetch = Database.fetch
    monkeypatch.setattr(Database, "fetch", counted)
    for name in ("fetchrow", "fetchval", "execute"):
        monkeypatch.delattr(Database, name)
    status, answer = await ask(shared_api, (items * 7)[:100])
    assert (status, len(answer["items"]), len(statements)) == (200, 100, 1)


async def test_each_item_counts_as_a_request(start_api: Any) -> None:
    async with start_api(rate_limit_urls=7) as api:
        now = time.time()
        api.service.rates._clock = lambda: now  # no new minute may begin in between
        photo = await picture(api)
        path, body = f"{MEDIA}/assets/urls", {"items": [{"asset_id": photo}] * 4}
        async with api.http.post(path, json=body, headers=bearer("doctor-1")) as answer:
            assert (answer.status, answer.headers["RateLimit-Remaining"]) == (200, "3")
        assert (await ask(api, [{"asset_id": photo}]))[0] == 200
        async with api.http.post(path, json={"items": [{"asset_id": photo}] * 3}, headers=bearer("doctor-1")) as answer:
            assert (answer.status, (await answer.json())["code"]) == (429, "rate_limited")
            assert answer.headers["RateLimit-Remaining"] == "1"  # the items of a refused request are not counted
        assert (await api.call("GET", f"{MEDIA}/assets/{photo}/url"))[0] == 200
        assert (await api.call("GET", f"{MEDIA}/assets/{photo}/url"))[0] == 429
        assert (await ask(api, [{"asset_id": photo}] * 100, "ms-6", claims={"role": "service"}))[0] == 200


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"asset_id": str(uuid4())}] * 101,
        [{}],
        [{"asset_id": "x"}],
        [{"asset_id": str(uuid4()), "rendition": ""}],
        [{"asset_id": str(uuid4()), "surprise": 1}],
        {},
    ],
)
async def test_unusable_requests_are_refused(shared_api: RunningApi, items: Any) -> None:
    status, problem = await ask(shared_api, items)
    assert (status, problem["code"]) == (422, "invalid_request")
