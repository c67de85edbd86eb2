"""URLs and playlists, fetched by a plain HTTP client as a browser would."""

import gzip
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit
from uuid import UUID

import aiohttp
import pytest

from api.views.urls import GZIP_FROM
from media.asset import Status
from tests.integration.api.conftest import MEDIA, RunningApi, bearer
from tests.integration.api.films import MASTER, film, store, url_of


async def fetch(url: str, **headers: str) -> tuple[int, bytes, Any]:
    async with aiohttp.ClientSession(auto_decompress=False) as http, http.get(url, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_url_of_the_largest_picture_by_default_and_of_any_by_name(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    small = await store(shared_api, slot, "w150.webp", b"small", "image/webp", "w150")
    large = await store(shared_api, slot, "w640.webp", b"large one", "image/webp", "w640")
    await shared_api.ready(slot["asset_id"], small, large)
    link = await url_of(shared_api, slot["asset_id"])
    assert link["rendition"] == "w640"
    assert (await fetch(link["url"]))[:2] == (200, b"large one")
    link = await url_of(shared_api, slot["asset_id"], "?rendition=w150")
    assert (await fetch(link["url"]))[:2] == (200, b"small")
    status, problem = await shared_api.call("GET", f"{MEDIA}/assets/{slot['asset_id']}/url?rendition=w1920")
    assert (status, problem["code"]) == (404, "rendition_not_found")


async def test_a_document_is_saved_under_its_name(shared_api: RunningApi) -> None:
    name = 'Befund "März".pdf'
    slot = await shared_api.announce(asset_type="document", content_type="application/pdf", original_filename=name)
    await shared_api.ready(
        slot["asset_id"], await store(shared_api, slot, "a.pdf", b"%PDF", "application/pdf", "original")
    )
    _, _, headers = await fetch((await url_of(shared_api, slot["asset_id"]))["url"])
    assert headers["Content-Type"] == "application/pdf"
    assert headers["Content-Disposition"] == (
        "attachment; filename=\"Befund _M_rz_.pdf\"; filename*=UTF-8''Befund%20%22M%C3%A4rz%22.pdf"
    )


async def test_an_original_is_served_in_the_version_that_was_scanned(api: RunningApi) -> None:
    slot = await api.announce(asset_type="document", content_type="application/pdf", original_filename="a.pdf")
    bucket = api.service.settings.output_bucket
    await api.service.storage.write(bucket, slot["s3_key"], b"%PDF scanned", "application/pdf")
    await api.call("POST", f"{MEDIA}/upload/confirm", json={"asset_id": slot["asset_id"]})
    await api.service.storage.write(bucket, slot["s3_key"], b"%PDF swapped", "application/pdf")
    await api.service.database.execute("UPDATE assets SET status = 'ready'")
    await api.service.database.execute(
        "INSERT INTO renditions (asset_id, name, key, content_type, bytes, attempt)"
        " VALUES ($1, 'original', $2, $3, 12, 1)",
        UUID(slot["asset_id"]),
        slot["s3_key"],
        "application/pdf",
    )
    link = await url_of(api, slot["asset_id"])
    assert (await fetch(link["url"]))[:2] == (200, b"%PDF scanned")


async def test_owner_saves_the_original_of_what_was_scanned_whole(api: RunningApi) -> None:
    asset_id = await film(api)
    path = f"{MEDIA}/assets/{asset_id}/url?rendition=original"
    status, problem = await api.call("GET", path)
    assert (status, problem["code"]) == (409, "not_scanned_whole")
    await api.service.database.execute(
        "INSERT INTO timeline (asset_id, stage, code) VALUES ($1, 'scan', 'clean')", UUID(asset_id)
    )
    assert (await api.call("GET", path, "doctor-2"))[0] == 404
    for subject, role in (("doctor-1", "user"), ("platform", "service"), ("operator", "admin")):
        status, link = await api.call("GET", path, subject, claims={"role": role})
        assert (status, link["rendition"]) == (200, "original")
        query = parse_qs(urlsplit(link["url"]).query)
        assert (query["X-Amz-Expires"], query["versionId"]) == (["1800"], ["v1"])
        assert query["response-content-disposition"][0].startswith("attachment; filename=")
        assert query["response-cache-control"] == ["private, max-age=1800"]
    await api.service.database.execute(
        "INSERT INTO timeline (asset_id, stage, code) VALUES ($1, 'scan', 'unscannable')", UUID(asset_id)
    )
    assert (await api.call("GET", path))[0] == 409
    await api.service.database.execute("UPDATE assets SET recording_id = 'r'")
    status, problem = await api.call("GET", path)
    assert (status, problem["code"]) == (404, "rendition_not_found")


@pytest.mark.parametrize(("delivery", "hours"), [("course_pdf", 2.0), ("verification_document", 0.5)])
async def test_url_lifetime_follows_the_delivery_class(shared_api: RunningApi, delivery: str, hours: float) -> None:
    slot = await shared_api.announce(
        asset_type="document", content_type="application/pdf", original_filename="a.pdf", delivery=delivery
    )
    await shared_api.ready(
        slot["asset_id"], await store(shared_api, slot, "a.pdf", b"%PDF", "application/pdf", "original")
    )
    link = await url_of(shared_api, slot["asset_id"])
    left = datetime.fromisoformat(link["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=hours * 7 / 8 - 0.01) <= left <= timedelta(hours=hours)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", (409, "not_ready")),
        ("uploaded", (409, "not_ready")),
        ("scanning", (409, "not_ready")),
        ("processing", (409, "not_ready")),
        ("rejected", (409, "rejected")),
        ("failed", (409, "failed")),
        ("expired", (409, "not_ready")),
        ("deleted", (404, "deleted")),
    ],
)
async def test_only_ready_assets_have_urls(api: RunningApi, status: str, expected: tuple[int, str]) -> None:
    asset_id = await film(api)
    playlist = (await url_of(api, asset_id))["url"]
    await api.service.database.execute("UPDATE assets SET status = $1", status)
    got, problem = await api.call("GET", f"{MEDIA}/assets/{asset_id}/url")
    assert (got, problem["code"]) == expected
    assert (await fetch(playlist))[0] == expected[0]


async def test_a_player_reaches_every_entry(shared_api: RunningApi) -> None:
    link = await url_of(shared_api, await film(shared_api))
    assert link["rendition"] == "hls"
    status, body, headers = await fetch(link["url"])
    assert status == 200
    assert headers["Content-Type"] == "application/vnd.apple.mpegurl"
    assert headers["Cache-Control"] == "private, no-store"
    assert body.decode().count("?token=") == 3
    rung = next(line for line in body.decode().splitlines() if line.startswith("clip_360.m3u8"))
    status, body, _ = await fetch(urljoin(link["url"], rung))
    assert status == 200
    segment = next(line for line in body.decode().splitlines() if line.startswith("http"))
    assert (await fetch(segment))[:2] == (200, b"segment")
    init = re.search(r'EXT-X-MAP:URI="([^"]+)",BYTERANGE="700@0"', body.decode())
    assert init
    assert (await fetch(init[1]))[:2] == (200, b"init")


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [("gzip", True), ("br, *", True), ("GZIP;q=0.5", True), ("gzip;q=0", False), ("*;q=0, xgzipx", False), ("", False)],
)
async def test_playlist_is_compressed_if_accept_encoding_allows_it(
    shared_api: RunningApi, accepted: str, compressed: bool
) -> None:
    link = await url_of(shared_api, await film(shared_api, MASTER + "#" * GZIP_FROM))
    _, _, headers = await fetch(link["url"], **{"Accept-Encoding": accepted})
    assert (headers.get("Content-Encoding") == "gzip") is compressed


async def test_known_url_is_answered_with_304(shared_api: RunningApi) -> None:
    path, headers = f"{MEDIA}/assets/{await film(shared_api)}/url?rendition=mp4", bearer("doctor-1")
    tags = {(await shared_api.http.get(path, headers=headers)).headers["ETag"] for _ in range(2)}
    answer = await shared_api.http.get(path, headers=headers | {"If-None-Match": ", ".join(tags)})
    assert (answer.status, await answer.read()) == (304, b"")


@pytest.mark.parametrize(
    ("delivery", "kept"), [("public", "public, max-age=300"), ("verification_document", "private, max-age=1800")]
)
async def test_picture_is_cached_by_its_delivery(shared_api: RunningApi, delivery: str, kept: str) -> None:
    slot = await shared_api.announce(delivery=delivery)
    await shared_api.ready(slot["asset_id"], await store(shared_api, slot, "w150.webp", b"small", "image/webp", "w150"))
    _, _, headers = await fetch((await url_of(shared_api, slot["asset_id"]))["url"])
    assert headers["Cache-Control"] == kept


async def test_public_film_has_a_url_that_does_not_end_while_it_is_public(api: RunningApi) -> None:
    asset_id = await film(api)
    await api.service.database.execute("UPDATE assets SET delivery = 'public'")
    link = await url_of(api, asset_id)
    assert link["expires_at"] is None
    status, body, _ = await fetch(link["url"])
    assert status == 200
    rung = next(line for line in body.decode().splitlines() if line.startswith("clip_360.m3u8"))
    assert (await fetch(urljoin(link["url"], rung)))[0] == 200
    await api.service.database.execute("UPDATE assets SET delivery = 'course_video'")
    status, body, _ = await fetch(link["url"])
    assert status == 401
    assert b"token_expired" in body


async def test_public_film_is_played_from_the_distribution(start_api: Any) -> None:
    async with start_api(cloudfront_domain="cdn.example") as api:
        asset_id = await film(api)
        await api.service.database.execute("UPDATE assets SET delivery = 'public'")
        await api.service.database.execute("UPDATE renditions SET key = 'public/' || key")
        for name in ("hls", "mp4"):
            link = await url_of(api, asset_id, f"?rendition={name}")
            assert link["url"].startswith("https://cdn.example/public/")
            assert link["expires_at"] is None


async def test_allowed_origin_may_read_playlists(shared_api: RunningApi) -> None:
    link = await url_of(shared_api, await film(shared_api))
    _, _, headers = await fetch(link["url"], Origin="http://localhost:8005")
    assert headers["Access-Control-Allow-Origin"] == "http://localhost:8005"
    _, _, headers = await fetch(link["url"], Origin="http://evil.example")
    assert "Access-Control-Allow-Origin" not in headers


async def test_a_long_playlist_is_compressed_when_asked_for(shared_api: RunningApi) -> None:
    lines = "".join(f"#EXTINF:6.0,\nclip_{n:05}.ts\n" for n in range(1200))
    link = await url_of(shared_api, await film(shared_api, f"#EXTM3U\n{lines}"))
    _, plain, _ = await fetch(link["url"], **{"Accept-Encoding": "identity"})
    _, packed, headers = await fetch(link["url"], **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 3


@pytest.mark.parametrize(
    "path", ["../clip.mp4", "..%2fclip.m3u8", "clip.mp4", "other.txt", "none.m3u8", "%2e%2e/a.m3u8"]
)
async def test_nothing_but_playlists_below_the_master_is_served(shared_api: RunningApi, path: str) -> None:
    link = await url_of(shared_api, await film(shared_api))
    parts = urlsplit(link["url"])
    answer = await shared_api.http.get(f"{parts.path.rpartition('/')[0]}/{path}?{parts.query}")
    assert answer.status == 404


@pytest.mark.parametrize(
    "entry", ["../other/secret.ts", "/etc/passwd", "https://evil.example/a.ts", "a/../../b.ts", "file:a"]
)
async def test_a_playlist_that_points_elsewhere_is_not_served(shared_api: RunningApi, entry: str) -> None:
    link = await url_of(shared_api, await film(shared_api, f"#EXTM3U\n#EXTINF:6.0,\n{entry}\n"))
    status, body, _ = await fetch(link["url"])
    assert status == 502
    assert b"playlist_unusable" in body


async def test_playlist_token_is_valid_for_one_asset_until_it_expires(shared_api: RunningApi) -> None:
    mine, other = await film(shared_api), await film(shared_api)
    link = await url_of(shared_api, mine)
    assert (await fetch(link["url"].replace(mine, other)))[0] == 401
    assert (await fetch(link["url"] + "x"))[0] == 401
    ended = shared_api.service.playback.make(UUID(mine), datetime.now(UTC) - timedelta(seconds=1))
    answer = await shared_api.http.get(f"{MEDIA}/assets/{mine}/hls/master.m3u8?token={ended}")
    assert answer.status == 401
    assert (await answer.json(content_type=None))["code"] == "token_expired"


async def test_a_rejected_asset_says_why(shared_api: RunningApi) -> None:
    slot = await shared_api.announce()
    await shared_api.ready(slot["asset_id"], status=Status.REJECTED)
    status, asset = await shared_api.call("GET", f"{MEDIA}/assets/{slot['asset_id']}")
    assert (status, asset["status"]) == (200, "rejected")
