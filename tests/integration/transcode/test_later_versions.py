"""Another version of the key appears before or while MediaConvert works: only the bound version is shown."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from media import source_check
from media.asset import Asset, StageState, Status
from media.asset_store.assets import LATE_VERSIONS_NOTED
from media.errors import Code, RejectedError, RetryableError
from media.source_check import require_bound_is_current
from tests.conftest import EmbeddedStack
from tests.integration.stack.client import Client, open_client
from tests.integration.transcode.engine_harness import Harness
from tests.integration.transcode.source_clips import Clip

FIRST = Clip("first", 64, 48, seconds=1.5, channels=0)
LONGER = Clip("longer", 640, 360, seconds=8)


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FIRST.make(tmp_path_factory.mktemp("first"))


@pytest.fixture
async def asset(harness: Harness, first: Path) -> Asset:
    return await harness.add_asset(first)


async def overwrite_source(harness: Harness, asset: Asset) -> str:
    """Overwrite the key, as a writer with its own rights could. Returns the new version's id."""
    put = await harness.s3.put_object(Bucket=asset.bucket, Key=asset.key, Body=b"not what was scanned")
    return put["VersionId"]


async def remove_version(harness: Harness, asset: Asset, version_id: str) -> None:
    """Remove another version, as the consumer does when S3 reports it."""
    await harness.assets.note_late_version(asset.asset_id, "late_version", version_id, [])
    await harness.s3.delete_object(Bucket=asset.bucket, Key=asset.key, VersionId=version_id)


async def check_stage_waits(harness: Harness, asset: Asset) -> None:
    claim = await harness.claim(asset)
    with pytest.raises(RetryableError) as caught:
        await harness.mediaconvert_engine().require_source(claim.asset)
    assert (caught.value.code, caught.value.counts_as_attempt) == (Code.SOURCE_CHANGED, False)
    assert caught.value.retry_after
    await harness.stages.release(claim.fence, forgive=True)


async def test_no_job_is_submitted_while_another_version_is_current(
    harness: Harness, asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_check, "CLOCK_SKEW", 0.0)
    later = await overwrite_source(harness, asset)
    await check_stage_waits(harness, asset)
    await remove_version(harness, asset, later)
    ready = await harness.transcode_with_mediaconvert(asset)
    assert (ready.status, ready.width) == (Status.READY, 64)
    assert "retry" not in await harness.timeline_codes(asset), (
        "a version that was removed before the job changes nothing"
    )


async def test_outputs_made_while_another_version_existed_are_made_again(harness: Harness, asset: Asset) -> None:
    job_id = await harness.submit(asset)
    *_, complete = await harness.run_job(job_id)
    later = await overwrite_source(harness, asset)
    await harness.apply_event(complete)
    assert (await harness.stage_row(asset)).state is StageState.QUEUED
    await check_stage_waits(harness, asset)
    await remove_version(harness, asset, later)
    assert (await harness.reload(asset)).status is Status.PROCESSING
    assert (await harness.timeline_codes(asset)).count("retry") == 1


async def test_outputs_are_made_again_after_another_version_came_and_went(harness: Harness, asset: Asset) -> None:
    job_id = await harness.submit(asset)
    *_, complete = await harness.run_job(job_id)
    await remove_version(harness, asset, await overwrite_source(harness, asset))
    await harness.apply_event(complete)
    assert (await harness.stage_row(asset)).state is StageState.QUEUED


async def test_version_that_the_timeline_no_longer_tells_of_counts_too(
    harness: Harness, asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_check, "CLOCK_SKEW", 0.0)
    for _ in range(LATE_VERSIONS_NOTED):
        await remove_version(harness, asset, await overwrite_source(harness, asset))
    job_id = await harness.submit(asset)
    *_, complete = await harness.run_job(job_id)
    await remove_version(harness, asset, await overwrite_source(harness, asset))
    codes = await harness.timeline_codes(asset)
    assert codes.count("late_version") == LATE_VERSIONS_NOTED
    await harness.apply_event(complete)
    assert (await harness.stage_row(asset)).state is StageState.QUEUED


async def test_error_over_another_version_does_not_reject_the_bound_one(harness: Harness, asset: Asset) -> None:
    job_id = await harness.submit(asset)
    *_, complete = await harness.run_job(job_id)
    later = await overwrite_source(harness, asset)
    failed = {**complete, "status": "ERROR", "errorCode": 1040, "errorMessage": "it has no sound"}
    await harness.apply_event(failed)
    assert (await harness.stage_row(asset)).state is StageState.QUEUED
    await remove_version(harness, asset, later)
    assert (await harness.reload(asset)).status is Status.PROCESSING


@pytest.mark.parametrize("change", ["a bucket of others", "a key of others", "without versions", "gone", "other bytes"])
async def test_lasting_change_of_the_source_is_rejected(harness: Harness, asset: Asset, change: str) -> None:
    bucket, found = asset.bucket, asset
    await overwrite_source(harness, asset)
    match change:
        case "a bucket of others":
            bucket = "ours"
        case "a key of others":
            await harness.s3.put_object(Bucket=asset.bucket, Key="recordings/one.mp4", Body=b"x")
            found = replace(asset, key="recordings/one.mp4")
        case "without versions":
            found = replace(asset, version_id=None)
        case "gone":
            await harness.s3.delete_object(Bucket=bucket, Key=asset.key, VersionId=asset.version_id or "")
        case _:
            found = replace(asset, etag="0" * 32)
    with pytest.raises(RejectedError) as caught:
        await require_bound_is_current(harness.finalizer.storage, found, bucket)
    assert caught.value.code is Code.SOURCE_CHANGED


async def test_deleted_object_is_missing(harness: Harness, asset: Asset) -> None:
    await harness.s3.delete_object(Bucket=asset.bucket, Key=asset.key)
    with pytest.raises(RejectedError) as caught:
        await require_bound_is_current(harness.finalizer.storage, asset, asset.bucket)
    assert caught.value.code is Code.SOURCE_MISSING


@pytest.fixture
async def user(stack: EmbeddedStack) -> AsyncIterator[Client]:
    async with open_client(stack, "dr-overwritten") as client:
        yield client


async def test_stack_shows_the_bound_version(user: Client, first: Path, tmp_path: Path) -> None:
    source, other = LONGER.make(tmp_path).read_bytes(), first.read_bytes()  # noqa: ASYNC240 - small test clips
    body = {"asset_type": "video", "content_type": "video/mp4", "original_filename": "talk.mp4"}
    async with user.http.post("upload", json=body, raise_for_status=True) as answer:
        slot = await answer.json()
    async with user.plain.put(slot["upload_url"], data=source, headers=slot["headers"], raise_for_status=True):
        asset_id = slot["asset_id"]
    await user.wait_for(lambda: user.timeline_details(asset_id), lambda notes: "submitted" in notes)
    headers = {"Content-Type": "video/mp4"}
    async with user.plain.put(slot["upload_url"], data=other, headers=headers, raise_for_status=True):
        pass
    asset = await user.wait_until_done(asset_id)
    assert (asset["status"], asset["width"], asset["height"]) == ("ready", 640, 360), asset
    assert asset["duration_ms"] == pytest.approx(8_000, abs=100)
    notes = await user.timeline_details(asset_id)
    assert "late_version" in notes
    assert "source_changed" in notes["retry"]
    versions = await user.s3.list_object_versions(Bucket=user.bucket, Prefix=slot["s3_key"])
    assert [known(version) for version in versions["Versions"]] == [(await user.row(asset_id))["version_id"]]


def known(version: Any) -> str:
    return str(version["VersionId"])
