"""A delivery that is changed: files are copied, one commit switches, old URLs go on for as long as they were given."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from consumer.maintenance.storage_check import Problem, StorageCheck
from consumer.maintenance.storage_listing import AssetPath, StorageListing
from media.asset import ObjectVersion, Rendition, Stage, StageState, Status
from media.asset_store.recovery import Recovery, Replays
from media.asset_store.stages import Claim, Commit, StageStore
from media.aws.s3 import DELIVERY_TAG
from media.errors import RetryableError
from tests.integration.api.conftest import MEDIA, RunningApi
from tests.integration.api.deliveries import Deliveries, fetch, segments
from tests.integration.api.films import film, store, url_of

DEADLINE = 60.0
"""Seconds until a copy is made."""


@pytest.fixture
def deliveries(api: RunningApi) -> Deliveries:
    return Deliveries(api)


async def picture(api: RunningApi) -> str:
    """Create a ready public picture of two sizes. Return its id."""
    slot, place = await api.announce(), {"top": "public", "folder": "image-1"}
    sizes = [await store(api, slot, f"w{n}.webp", b"x" * n, "image/webp", f"w{n}", **place) for n in (150, 640)]
    await api.ready(slot["asset_id"], *sizes)
    return str(slot["asset_id"])


async def test_a_picture_becomes_private_and_its_public_files_go_at_once(deliveries: Deliveries) -> None:
    asset_id = await picture(deliveries.api)
    before = await deliveries.asset(asset_id)
    status, asked = await deliveries.ask(asset_id, "verification_document", "user")
    assert (status, asked["delivery"], asked["pending_delivery"]) == (200, "public", "verification_document")
    old = await url_of(deliveries.api, asset_id)
    assert (await fetch(old["url"]))[0] == 200, "until the switch the old files are served"
    assert await deliveries.mover.outbox.sweep(limit=1) == 1
    _, shown = await deliveries.api.call("GET", f"{MEDIA}/assets/{asset_id}")
    assert (shown["delivery"], shown["pending_delivery"]) == ("verification_document", None)
    new = await url_of(deliveries.api, asset_id)
    assert urlsplit(new["url"]).path.split("/")[2] == "private"
    assert (await fetch(new["url"]))[1] == b"x" * 640
    moved = await deliveries.asset(asset_id)
    stored = ObjectVersion(deliveries.bucket, moved.renditions[0].key)
    _, _, headers = await fetch(await deliveries.storage.presign(stored, seconds=60))
    assert (headers["Content-Type"], headers["Cache-Control"]) == ("image/webp", "private, no-store")
    while await deliveries.outbox.sweep():
        pass
    assert (await fetch(old["url"]))[0] == 404
    assert deliveries.cache.dropped == [f"/public/image/doctor-1/{asset_id}/*"]
    assert sorted(await deliveries.keys(asset_id)) == sorted(one.key for one in moved.renditions)
    assert [one.name for one in moved.renditions] == [one.name for one in before.renditions]
    assert (await deliveries.codes(asset_id))[-2:] == ["delivery_changing", "delivery_changed"]


async def test_old_urls_of_a_film_go_on_until_their_end(deliveries: Deliveries) -> None:
    asset_id = await film(deliveries.api)
    hls, mp4 = await url_of(deliveries.api, asset_id), await url_of(deliveries.api, asset_id, "?rendition=mp4")
    await deliveries.change(asset_id, "public")
    while await deliveries.outbox.sweep():
        pass
    assert (await fetch(mp4["url"]))[:2] == (200, b"mp4")
    assert await segments(hls["url"]) == {b"segment", b"init"}
    new = await url_of(deliveries.api, asset_id, "?rendition=mp4")
    assert urlsplit(new["url"]).path.split("/")[2] == "public"
    assert (await fetch(new["url"]))[2]["Cache-Control"] == "public, max-age=300"
    waits = "SELECT extract(epoch FROM min(due_at) - now()) FROM outbox WHERE kind = 'delete_prefix'"
    assert 8 * 3600 < await deliveries.database.fetchval(waits) <= 8 * 3600 + 60
    await deliveries.end_urls()
    assert (await fetch(mp4["url"]))[0] == 404
    assert {key.split("/")[0] for key in await deliveries.keys(asset_id)} == {"public"}
    assert await segments(hls["url"]) == {b"segment", b"init"}, "the playlist's token leads to the new files"


async def test_removals_that_wait_touch_neither_a_change_back_nor_the_caches(deliveries: Deliveries) -> None:
    asset_id = await film(deliveries.api)
    await deliveries.change(asset_id, "public")
    await deliveries.change(asset_id, "course_video")
    while await deliveries.outbox.sweep():
        pass
    assert deliveries.cache.dropped == [f"/public/video/doctor-1/{asset_id}/*"], (
        "it does not wait for the other removal"
    )
    # A message that is delivered again dispatches what is left, but not what is for later.
    await deliveries.outbox.dispatch_pending(UUID(asset_id))
    assert len(await deliveries.keys(asset_id)) == 12, "the first place, and the one that is served"
    await deliveries.end_urls()
    assert len(await deliveries.keys(asset_id)) == 6
    assert await segments((await url_of(deliveries.api, asset_id))["url"]) == {b"segment", b"init"}


async def test_a_document_keeps_its_name_and_its_tags(deliveries: Deliveries) -> None:
    api, bucket = deliveries.api, deliveries.bucket
    slot = await api.announce(asset_type="document", content_type="application/pdf", original_filename="a.pdf")
    await api.service.storage.write(bucket, slot["s3_key"], b"%PDF", "application/pdf")
    original = await store(api, slot, "original.pdf", b"%PDF", "application/pdf", "original")
    page = await store(api, slot, "page-1.webp", b"page", "image/webp", "page-1", folder="image-1")
    await api.service.storage.tag(ObjectVersion(bucket, original.key), {"scan-status": "CLEAN"})
    await api.ready(slot["asset_id"], original, page)
    upload = await api.service.storage.newest(bucket, slot["s3_key"])
    assert upload
    await api.service.database.execute("UPDATE assets SET version_id = $1", upload.version.version_id)
    asset = await deliveries.change(slot["asset_id"], "verification_document")
    keys = {one.name: one.key for one in asset.renditions}
    assert {name: key.split("/")[0::4] for name, key in keys.items()} == {
        "original": ["private", "x-1-m1"],
        "page-1": ["private", "image-1-m1"],
    }
    assert await api.service.storage.tags(ObjectVersion(bucket, keys["original"])) == {"scan-status": "CLEAN"}
    assert (await api.service.storage.tags(upload.version))[DELIVERY_TAG] == "verification_document"
    _, body, headers = await fetch((await url_of(api, slot["asset_id"]))["url"])
    assert (body, headers["Content-Disposition"].split(";")[0]) == (b"%PDF", "attachment")


async def test_deliveries_of_the_same_place_switch_without_a_copy(deliveries: Deliveries) -> None:
    asset_id = await film(deliveries.api)
    before = await deliveries.asset(asset_id)
    after = await deliveries.change(asset_id, "webinar_vod")
    assert (after.delivery, after.renditions) == ("webinar_vod", before.renditions)
    assert await deliveries.database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_who_may_ask_and_when(deliveries: Deliveries) -> None:
    api = deliveries.api
    fresh = str((await api.announce())["asset_id"])
    status, problem = await deliveries.ask(fresh, "verification_document")
    assert (status, problem["code"]) == (409, "not_ready")
    asset_id = await film(api)
    status, problem = await deliveries.ask(asset_id, "public", "user")
    assert (status, problem["code"]) == (403, "delivery_not_allowed")
    status, problem = await deliveries.ask(asset_id, None)
    assert (status, problem["code"]) == (422, "invalid_request")
    await api.service.database.execute("INSERT INTO stages (asset_id, stage) VALUES ($1, 'image')", UUID(asset_id))
    status, problem = await deliveries.ask(asset_id, "public")
    assert (status, problem["code"]) == (409, "not_ready")
    await api.service.database.execute("UPDATE stages SET state = 'failed' WHERE stage = 'image'")
    assert (await deliveries.ask(asset_id, "course_video"))[1]["pending_delivery"] is None
    assert (await deliveries.ask(asset_id, "public"))[0] == 200
    assert (await deliveries.ask(asset_id, "public"))[0] == 200, "the same again changes nothing"
    for other in ("course_video", "webinar_vod"):
        status, problem = await deliveries.ask(asset_id, other)
        assert (status, problem["code"]) == (409, "delivery_changing")
    assert (await deliveries.codes(asset_id)).count("delivery_changing") == 1


async def test_a_killed_move_goes_on_with_what_is_missing(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset_id = await film(deliveries.api)
    copied = await interrupted(deliveries, monkeypatch, asset_id, after=3)
    assert len(copied) == 3
    asset = await deliveries.asset(asset_id)
    assert (asset.delivery, asset.pending_delivery) == ("course_video", "public")
    await deliveries.database.execute("UPDATE outbox SET due_at = now()")
    assert await deliveries.mover.outbox.sweep(limit=1) == 1
    assert (await deliveries.asset(asset_id)).delivery == "public"
    assert len(copied) == len(set(copied)) == 6, "each file once"


async def interrupted(deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch, asset_id: str, after: int) -> list[str]:
    """Begin a change and cancel it after so many copies. Return a list of the copies, to which later ones are added."""
    copy, copied, reached = deliveries.storage.copy, list[str](), asyncio.Event()

    async def counted(source: ObjectVersion, *place: Any, **headers: Any) -> None:
        if len(copied) >= after and not reached.is_set():
            reached.set()
            await asyncio.Event().wait()
        await copy(source, *place, **headers)
        copied.append(source.key)

    monkeypatch.setattr(deliveries.storage, "copy", counted)
    monkeypatch.setattr("media.aws.s3.COPIES", 1)
    assert (await deliveries.ask(asset_id, "public"))[0] == 200
    moving = asyncio.create_task(deliveries.mover.outbox.sweep(limit=1))
    async with asyncio.timeout(DEADLINE):
        await reached.wait()
    moving.cancel()
    await asyncio.gather(moving, return_exceptions=True)
    return copied


async def test_a_deletion_during_the_move_leaves_nothing(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset_id = await film(deliveries.api)
    copy = deliveries.storage.copy

    async def delete_first(*place: Any, **headers: Any) -> None:
        monkeypatch.setattr(deliveries.storage, "copy", copy)
        await copy(*place, **headers)
        status, _ = await deliveries.api.call("DELETE", f"{MEDIA}/assets/{asset_id}")
        assert status == 204
        # The files are gone before the last copies come.
        keys = await deliveries.keys(asset_id)
        late = next(key for key in keys if key.startswith("public/"))
        await deliveries.end_urls()
        await deliveries.storage.write(deliveries.bucket, late, b"late", "text/plain")

    monkeypatch.setattr(deliveries.storage, "copy", delete_first)
    monkeypatch.setattr("media.aws.s3.COPIES", 1)
    assert (await deliveries.ask(asset_id, "public"))[0] == 200
    await deliveries.mover.outbox.sweep(limit=1)
    await deliveries.database.execute("UPDATE outbox SET due_at = now()")
    await deliveries.mover.outbox.sweep(limit=1)
    assert await deliveries.keys(asset_id) == []
    asset = await deliveries.asset(asset_id)
    assert (asset.status, asset.pending_delivery) == (Status.DELETED, None)
    assert await deliveries.database.fetchval("SELECT count(*) FROM outbox") == 0
    assert sorted(deliveries.cache.dropped) == [
        f"/{top}/video/doctor-1/{asset_id}/*" for top in ("processed", "public")
    ]


async def test_a_new_round_is_waited_for_and_its_files_are_moved(deliveries: Deliveries) -> None:
    asset_id = await film(deliveries.api)
    assert (await deliveries.ask(asset_id, "public"))[0] == 200
    [row] = await deliveries.mover.outbox.pending_of(UUID(asset_id))
    await Replays(deliveries.database).reopen(UUID(asset_id), Stage.SCAN, "", [], [Status.READY])
    with pytest.raises(RetryableError):
        await deliveries.mover.dispatch([row])
    stages = StageStore(deliveries.database)
    claim = await stages.claim(UUID(asset_id), Stage.SCAN, version_id="v1", lease=30)
    assert isinstance(claim, Claim)
    key = f"processed/video/doctor-1/{asset_id}/transcode-2/clip.mp4"
    await deliveries.storage.write(deliveries.bucket, key, b"again", "video/mp4")
    again = Rendition("mp4", key, "video/mp4", 5)
    await stages.commit(claim.fence, Commit(StageState.DONE, Status.READY, renditions=[again]))
    await deliveries.mover.dispatch([row])
    asset = await deliveries.asset(asset_id)
    assert (asset.delivery, asset.pending_delivery) == ("public", None)
    assert [one.key for one in asset.renditions] == [f"public/video/doctor-1/{asset_id}/transcode-2-m1/clip.mp4"]


async def test_a_lost_file_ends_the_change_with_nothing_switched(deliveries: Deliveries) -> None:
    asset_id = await film(deliveries.api)
    before = await deliveries.asset(asset_id)
    await deliveries.storage.delete_key(deliveries.bucket, before.renditions[0].key)
    after = await deliveries.change(asset_id, "public")
    assert (after.delivery, after.pending_delivery, after.renditions) == ("course_video", None, before.renditions)
    last = (await deliveries.assets.timeline(UUID(asset_id)))[-1]
    assert last.code == "delivery_kept"
    assert last.detail == f"course_video to public: {before.renditions[0].key} is gone"
    await deliveries.end_urls()
    assert {key.split("/")[0] for key in await deliveries.keys(asset_id)} == {"processed"}


async def test_a_reconciliation_knows_the_places_before_and_after(deliveries: Deliveries) -> None:
    asset_id = await picture(deliveries.api)
    await deliveries.change(asset_id, "verification_document")
    listing = StorageListing(deliveries.storage, deliveries.bucket, None)
    stored = await listing.read(AssetPath(f"image/doctor-1/{asset_id}"))
    known = (await Recovery(deliveries.database).get([UUID(asset_id)]))[UUID(asset_id)]
    later = StorageCheck(deliveries.bucket, datetime.now(UTC) + timedelta(hours=1))
    # Nothing was ever uploaded. What old URLs lead to is no orphan yet, and what is served is not lost.
    assert [found.problem for found in later.compare(stored, known)] == [Problem.ORIGINAL_GONE]
    much_later = StorageCheck(deliveries.bucket, datetime.now(UTC) + timedelta(days=2))
    problems = [found.problem for found in much_later.compare(stored, known)]
    assert problems == [Problem.ORIGINAL_GONE, Problem.ORPHANED_OUTPUTS]
    assert much_later.orphaned_outputs(stored, known) == [f"public/image/doctor-1/{asset_id}/image-1/"]
