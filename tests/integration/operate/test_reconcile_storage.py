"""`python -m consumer.cli reconcile-storage` finds and repairs what differs between the database and the bucket."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from aiobotocore.session import get_session

from media.asset import AssetType, DeliveryClass, Stage, StageState, Status
from media.asset_store.database import connect
from media.asset_store.recovery import RESTORED
from media.asset_store.stages import Commit, StageStore
from tests.conftest import EmulatedAws
from tests.integration.operate.conftest import OperatorConsole
from tests.integration.operate.stored_assets import (
    OWNER,
    Buckets,
    Upload,
    claim,
    erase,
    new_key,
    pending,
    processing,
    ready,
    status,
    uploaded,
)


@pytest.fixture
async def buckets(console: OperatorConsole, emulator: EmulatedAws) -> AsyncIterator[Buckets]:
    async with AsyncExitStack() as stack:
        s3 = await stack.enter_async_context(
            get_session().create_client(
                "s3",
                region_name=emulator.region,
                endpoint_url=emulator.url,
                aws_access_key_id=emulator.access_key,
                aws_secret_access_key=emulator.secret_key,
            )
        )
        names = {name: f"{name}-{uuid4().hex[:8]}" for name in ("media", "quarantine")}
        for name in names.values():
            await s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": emulator.region})
            await s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        database = await stack.enter_async_context(connect(console.dsn))
        settings = console.settings.model_copy(
            update={"output_bucket": names["media"], "quarantine_bucket": names["quarantine"]}
        )
        yield Buckets(console, database, s3, settings)


async def test_nothing_is_wrong_with_what_belongs_together(buckets: Buckets) -> None:
    await ready(buckets)
    await pending(buckets)
    ended, problems = await buckets.reconcile()
    assert (ended.status, problems) == (0, [])


async def test_upload_without_a_row_is_registered_and_scanned(buckets: Buckets) -> None:
    await ready(buckets)
    upload = new_key()
    first, _ = await buckets.put(upload.key), await buckets.put(upload.key, b"swapped later")
    for attempt in (1, 3):
        await buckets.put(f"public/image/{OWNER}/{upload.asset_id}/image-{attempt}/w150.webp")
    ended, problems = await buckets.reconcile()
    assert (ended.status, [p["problem"] for p in problems]) == (0, ["unknown_upload"])
    assert await buckets.assets.get(upload.asset_id) is None, "changed without --repair"

    assert await buckets.repair() == ["unknown_upload"]
    asset = await buckets.assets.get(upload.asset_id)
    assert asset is not None
    assert (asset.status, asset.version_id, asset.owner_id) == (Status.UPLOADED, first, OWNER)
    assert asset.delivery is DeliveryClass.PUBLIC, "its outputs are public"
    assert await buckets.messages("uploads") == [str(upload.asset_id)]
    assert await buckets.codes(upload.asset_id) == ["created", "reconciled", "uploaded"]
    scan = await claim(buckets, Upload(upload.asset_id, upload.key, first), Stage.SCAN)
    done = Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.IMAGE)
    await StageStore(buckets.database).commit(scan.fence, done)
    image = await claim(buckets, Upload(upload.asset_id, upload.key, first), Stage.IMAGE)
    assert (image.attempt, image.tries) == (4, 1), "it must not write over what an earlier attempt wrote"


async def test_lost_document_is_scanned_under_a_new_attempt(buckets: Buckets) -> None:
    """A document's outputs are those of its scan."""
    await ready(buckets)
    upload = new_key(AssetType.DOCUMENT)
    version = await buckets.put(upload.key)
    await buckets.put(f"processed/document/{OWNER}/{upload.asset_id}/scan-2/original.pdf")
    assert await buckets.repair() == ["unknown_upload"]
    scan = await claim(buckets, Upload(upload.asset_id, upload.key, version), Stage.SCAN)
    assert (scan.attempt, scan.tries) == (3, 1)


@pytest.mark.parametrize(
    ("asset_type", "tagged", "outputs", "delivery"),
    [
        ("image", "", "", "verification_document"),
        ("image", "public", "", "public"),
        ("image", "public", "private", "verification_document"),
        ("image", "made up", "", "verification_document"),
        ("document", "", "", "verification_document"),
        ("document", "course_pdf", "processed", "course_pdf"),
        ("video", "", "", "course_video"),
        ("video", "", "public", "public"),
    ],
)
async def test_delivery_of_a_lost_row_is_found_or_the_closest(
    buckets: Buckets, asset_type: str, tagged: str, outputs: str, delivery: str
) -> None:
    await ready(buckets)
    upload = new_key(AssetType(asset_type))
    version = await buckets.put(upload.key)
    if tagged:
        tags = {"TagSet": [{"Key": "scan-delivery", "Value": tagged}]}
        await buckets.s3.put_object_tagging(Bucket=buckets.bucket, Key=upload.key, VersionId=version, Tagging=tags)
    if outputs:
        await buckets.put(f"{outputs}/{asset_type}/{OWNER}/{upload.asset_id}/image-1/x")
    assert await buckets.repair() == ["unknown_upload"]
    asset = await buckets.assets.get(upload.asset_id)
    assert asset is not None
    assert asset.delivery == delivery


async def test_upload_that_the_database_waits_for_is_bound(buckets: Buckets) -> None:
    late, expired = await pending(buckets), await pending(buckets)
    await buckets.database.execute("UPDATE assets SET status = 'expired' WHERE asset_id = $1", expired.asset_id)
    for upload in (late, expired):
        await buckets.put(upload.key)
    assert await buckets.repair() == ["missed_upload"] * 2
    assert {await status(buckets, upload) for upload in (late, expired)} == {(Status.UPLOADED, None)}
    assert set(await buckets.messages("uploads")) == {str(late.asset_id), str(expired.asset_id)}


async def test_ready_asset_without_its_files_is_processed_again(buckets: Buckets) -> None:
    upload, key = await ready(buckets)
    await erase(buckets, key)
    assert await buckets.repair() == ["lost_outputs"]
    assert await status(buckets, upload) == (Status.SCANNING, None)
    assert await buckets.messages("uploads") == [str(upload.asset_id)]
    asset = await buckets.assets.get(upload.asset_id)
    assert asset is not None
    assert not asset.renditions


async def test_hidden_file_counts_as_gone(buckets: Buckets) -> None:
    _, key = await ready(buckets)
    await buckets.s3.delete_object(Bucket=buckets.bucket, Key=key)  # a delete marker: nobody can fetch it
    assert await buckets.repair() == ["lost_outputs"]


async def test_asset_that_was_deleted_after_the_backup_is_deleted_again(buckets: Buckets) -> None:
    (upload, key), unfinished = await ready(buckets), await processing(buckets)
    await erase(buckets, key, upload.key, unfinished.key)
    assert await buckets.repair() == ["gone", "gone"]
    for one in (upload, unfinished):
        assert await status(buckets, one) == (Status.DELETED, None)
        assert (await buckets.codes(one.asset_id))[-2:] == ["deleted", "reconciled"]


async def test_another_version_never_takes_the_place_of_the_bound_one(buckets: Buckets) -> None:
    upload, key = await ready(buckets)
    await erase(buckets, key, upload.key)
    await buckets.put(upload.key, b"of somebody else")
    assert await buckets.repair() == ["lost"]
    assert await status(buckets, upload) == (Status.REJECTED, "source_missing")
    assert await buckets.messages("uploads") == []


async def test_quarantined_files_end_as_infected(buckets: Buckets) -> None:
    known, waited_for, unknown = await processing(buckets), await pending(buckets), new_key()
    await erase(buckets, known.key)
    for upload in (known, waited_for, unknown):
        await buckets.put(upload.key, bucket=buckets.quarantine)
    assert sorted(await buckets.repair()) == ["infected", "infected", "unknown_infected"]
    assert {await status(buckets, upload) for upload in (known, waited_for, unknown)} == {(Status.REJECTED, "infected")}
    assert (await buckets.reconcile())[1] == []


async def test_later_versions_are_removed(buckets: Buckets) -> None:
    upload, _ = await ready(buckets)
    later = await buckets.put(upload.key, b"swapped")
    assert await buckets.repair() == ["later_versions"]
    assert await buckets.effects() == [("delete_version", {"key": upload.key, "version_id": later})]
    assert await status(buckets, upload) == (Status.READY, None)


async def test_outputs_that_nothing_serves_are_removed(buckets: Buckets) -> None:
    upload, key = await ready(buckets)
    stray = f"public/image/{OWNER}/{upload.asset_id}/image-7/"
    await buckets.put(f"{stray}w150.webp")
    await buckets.put(f"public/image/{OWNER}/{upload.asset_id}/of-a-later-version/x")
    assert await buckets.repair() == ["orphaned_outputs"]
    assert await buckets.effects() == [("delete_prefix", {"prefix": stray})]
    assert key in await buckets.keys("public/")


async def test_outputs_of_an_asset_that_nobody_knows_are_removed(buckets: Buckets) -> None:
    _, key = await ready(buckets)
    unknown = f"processed/video/{OWNER}/{uuid4()}"
    await buckets.put(f"{unknown}/transcode-1/hls/master.m3u8")
    await buckets.put(f"{unknown}/transcode-1/hls/0.ts")
    await buckets.put("public/of-another-program/x")
    await buckets.put("processed/video/dr-house/no-uuid/transcode-1/x")
    assert await buckets.repair() == ["unknown_outputs"]
    assert sorted([*await buckets.keys("processed/"), *await buckets.keys("public/")]) == sorted(
        ["processed/video/dr-house/no-uuid/transcode-1/x", key, "public/of-another-program/x"]
    )


async def test_what_a_deleted_asset_left_is_removed(buckets: Buckets) -> None:
    upload, _ = await ready(buckets)
    await buckets.assets.delete(upload.asset_id, [])
    assert await buckets.repair() == ["not_removed"]
    kinds = [(kind, body.get("prefix", body.get("key"))) for kind, body in await buckets.effects()]
    place = f"image/{OWNER}/{upload.asset_id}/"
    assert kinds == [
        *(("delete_prefix", f"{root}/{place}") for root in ("public", "processed", "private")),
        ("delete_key", upload.key),
    ]


async def test_served_asset_without_its_upload_stays_as_it_is(buckets: Buckets) -> None:
    upload, _ = await ready(buckets)
    await erase(buckets, upload.key)
    ended, problems = await buckets.reconcile("--repair")
    assert (ended.status, [(p["problem"], p["repaired"]) for p in problems]) == (0, [("original_gone", False)])
    assert await status(buckets, upload) == (Status.READY, None)


async def test_work_that_nobody_holds_begins_a_new_round(buckets: Buckets) -> None:
    queued, held, waiting, failed = [await processing(buckets) for _ in range(4)]
    await claim(buckets, held, Stage.IMAGE)
    await buckets.database.execute(
        "UPDATE stages SET state = 'waiting', job_id = 'job' WHERE asset_id = $1 AND stage = 'image'", waiting.asset_id
    )
    lost = await claim(buckets, failed, Stage.IMAGE)
    await StageStore(buckets.database).commit(lost.fence, Commit(StageState.FAILED, Status.FAILED))
    await buckets.put(f"public/image/{OWNER}/{failed.asset_id}/image-2/w150.webp")  # it was redriven after the backup
    assert sorted(await buckets.repair()) == ["awaited"] * 2 + ["unfinished"] * 2
    asked = "SELECT asset_id FROM stages WHERE nudge_at <= now()"
    assert {row["asset_id"] for row in await buckets.database.fetch(asked)} == {held.asset_id, waiting.asset_id}
    assert set(await buckets.messages("images")) == {str(queued.asset_id), str(failed.asset_id)}
    assert (await claim(buckets, failed, Stage.IMAGE)).attempt == 3


async def test_recent_changes_are_left_alone(buckets: Buckets) -> None:
    await ready(buckets)
    await buckets.put(new_key().key)
    await erase(buckets, (await uploaded(buckets)).key)
    assert (await buckets.reconcile("--repair", grace="1h"))[1] == []


async def test_numbers_of_events_rise_after_a_restore_alone(buckets: Buckets) -> None:
    await ready(buckets)
    for arguments, grace, raised in (([], "0s", 0), (["--repair"], "1h", 0), (["--repair"], "0s", RESTORED)):
        await buckets.reconcile(*arguments, grace=grace)
        assert await buckets.database.fetchval("SELECT max(event_sequence) FROM assets") == raised
    # The backup does not know it, but others may: they were told before the restore.
    again = (await uploaded(buckets)).asset_id
    numbered = "SELECT event_sequence FROM assets WHERE asset_id = $1"
    assert await buckets.database.fetchval(numbered, again) == RESTORED


async def test_database_without_assets_repairs_nothing(buckets: Buckets) -> None:
    key = new_key().key
    await buckets.put(key)
    ended = await buckets.console.run(["reconcile-storage", "--repair"], buckets.settings)
    assert ended.status == 1
    assert "is it the right one?" in ended.err
    assert await buckets.keys() == [key]


async def test_bucket_that_is_not_there_is_told_in_a_line(buckets: Buckets) -> None:
    command = ("consumer.cli", "reconcile-storage")
    process = await buckets.console.start(
        *command, MEDIA_DATABASE_URL=buckets.settings.database_url, OUTPUT_BUCKET="gone"
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    [line] = err.decode().splitlines()
    assert "NoSuchBucket" in line


async def test_every_asset_is_compared_once_whatever_its_owner(buckets: Buckets) -> None:
    """S3 sorts `a-b/` before `a/`, Postgres does not. More than a page of objects is listed."""
    owners = ["a", "a-b", "a_b", "A", "aa", "a-"]
    known = [await uploaded(buckets, owner) for owner in owners]
    for owner in owners:
        await buckets.put(new_key(owner=owner).key)
    many = known[0]
    for number in range(1100):
        await buckets.put(f"public/image/a/{many.asset_id}/image-1/{number}")
    ended, problems = await buckets.reconcile()
    summary: Mapping[str, Any] = json.loads(ended.out.splitlines()[-1])
    assert (summary["assets"], summary["objects"]) == (12, 1112)
    assert summary["problems"] == {"unknown_upload": 6, "unfinished": 6}
    assert {problem["owner_id"] for problem in problems} == set(owners)
