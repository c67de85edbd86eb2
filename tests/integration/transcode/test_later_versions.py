"""Another version of the key beside the bound one, while MediaConvert is asked or at work: the bound one is shown."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from media import source_check
from media.asset import Asset, StageState, Status
from media.errors import Code, RejectedError, RetryableError
from media.source_check import require_bound_is_current
from tests.conftest import EmbeddedStack
from tests.integration.stack.client import Client, client_of
from tests.integration.transcode.cases import Case
from tests.integration.transcode.studio import Studio

FIRST = Case("first", 64, 48, seconds=1.5, channels=0)
LONGER = Case("longer", 640, 360, seconds=8)


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FIRST.make(tmp_path_factory.mktemp("first"))


@pytest.fixture
async def asset(studio: Studio, first: Path) -> Asset:
    return await studio.asset(first)


async def overlaid(studio: Studio, asset: Asset) -> str:
    """Somebody with rights of their own on the bucket writes the key again; the new version's id."""
    put = await studio.s3.put_object(Bucket=asset.bucket, Key=asset.key, Body=b"not what was scanned")
    return put["VersionId"]


async def cleared(studio: Studio, asset: Asset, version_id: str) -> None:
    """What the consumer does when it hears of another version."""
    await studio.assets.note(asset.asset_id, "late_version", version_id)
    await studio.s3.delete_object(Bucket=asset.bucket, Key=asset.key, VersionId=version_id)


async def waits(studio: Studio, asset: Asset) -> None:
    claim = await studio.claim(asset)
    with pytest.raises(RetryableError) as caught:
        await studio.mediaconvert_engine().require_source(claim.asset)
    assert (caught.value.code, caught.value.counts_as_attempt) == (Code.SOURCE_CHANGED, False)
    assert caught.value.retry_after
    await studio.stages.release(claim.fence, forgive=True)


async def test_no_job_is_submitted_while_another_version_is_current(
    studio: Studio, asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_check, "CLOCK_SKEW", 0.0)
    later = await overlaid(studio, asset)
    await waits(studio, asset)
    await cleared(studio, asset, later)
    ready = await studio.by_mediaconvert(asset)
    assert (ready.status, ready.width) == (Status.READY, 64)
    assert "retry" not in await studio.told(asset), "what came and went before the job disturbed nobody"


async def test_what_a_job_made_beside_another_version_is_made_again(studio: Studio, asset: Asset) -> None:
    job_id = await studio.submit(asset)
    *_, complete = await studio.work_on(job_id)
    later = await overlaid(studio, asset)
    await studio.tell(complete)
    assert (await studio.row(asset)).state is StageState.QUEUED
    await waits(studio, asset)
    await cleared(studio, asset, later)
    assert (await studio.now(asset)).status is Status.PROCESSING
    assert (await studio.told(asset)).count("retry") == 1


async def test_what_a_job_made_while_another_version_came_and_went_is_made_again(studio: Studio, asset: Asset) -> None:
    job_id = await studio.submit(asset)
    *_, complete = await studio.work_on(job_id)
    await cleared(studio, asset, await overlaid(studio, asset))
    await studio.tell(complete)
    assert (await studio.row(asset)).state is StageState.QUEUED


async def test_an_error_over_another_version_is_not_the_bound_ones(studio: Studio, asset: Asset) -> None:
    job_id = await studio.submit(asset)
    *_, complete = await studio.work_on(job_id)
    later = await overlaid(studio, asset)
    failed = {**complete, "status": "ERROR", "errorCode": 1040, "errorMessage": "it has no sound"}
    await studio.tell(failed)
    assert (await studio.row(asset)).state is StageState.QUEUED
    await cleared(studio, asset, later)
    assert (await studio.now(asset)).status is Status.PROCESSING


@pytest.mark.parametrize("change", ["a bucket of others", "a key of others", "without versions", "gone", "other bytes"])
async def test_what_nobody_will_put_right_is_refused(studio: Studio, asset: Asset, change: str) -> None:
    bucket, found = asset.bucket, asset
    await overlaid(studio, asset)
    match change:
        case "a bucket of others":
            bucket = "ours"
        case "a key of others":
            await studio.s3.put_object(Bucket=asset.bucket, Key="recordings/one.mp4", Body=b"x")
            found = replace(asset, key="recordings/one.mp4")
        case "without versions":
            found = replace(asset, version_id=None)
        case "gone":
            await studio.s3.delete_object(Bucket=bucket, Key=asset.key, VersionId=asset.version_id or "")
        case _:
            found = replace(asset, etag="0" * 32)
    with pytest.raises(RejectedError) as caught:
        await require_bound_is_current(studio.finalizer.storage, found, bucket)
    assert caught.value.code is Code.SOURCE_CHANGED


async def test_an_object_that_was_deleted_is_missing(studio: Studio, asset: Asset) -> None:
    await studio.s3.delete_object(Bucket=asset.bucket, Key=asset.key)
    with pytest.raises(RejectedError) as caught:
        await require_bound_is_current(studio.finalizer.storage, asset, asset.bucket)
    assert caught.value.code is Code.SOURCE_MISSING


@pytest.fixture
async def user(stack: EmbeddedStack) -> AsyncIterator[Client]:
    async with client_of(stack, "dr-overwritten") as client:
        yield client


async def test_through_the_stack_the_bound_version_is_shown(user: Client, first: Path, tmp_path: Path) -> None:
    source, other = LONGER.make(tmp_path).read_bytes(), first.read_bytes()  # noqa: ASYNC240 - small test clips
    body = {"asset_type": "video", "content_type": "video/mp4", "original_filename": "talk.mp4"}
    async with user.http.post("upload", json=body, raise_for_status=True) as answer:
        slot = await answer.json()
    async with user.plain.put(slot["upload_url"], data=source, headers=slot["headers"], raise_for_status=True):
        asset_id = slot["asset_id"]
    await user.until(lambda: user.notes(asset_id), lambda notes: "submitted" in notes)
    await user.s3.put_object(Bucket=user.bucket, Key=slot["s3_key"], Body=other, ContentType="video/mp4")
    asset = await user.end(asset_id)
    assert (asset["status"], asset["width"], asset["height"]) == ("ready", 640, 360), asset
    assert asset["duration_ms"] == pytest.approx(8_000, abs=100)
    notes = await user.notes(asset_id)
    assert "late_version" in notes
    assert "source_changed" in notes["retry"]
    versions = await user.s3.list_object_versions(Bucket=user.bucket, Prefix=slot["s3_key"])
    assert [known(version) for version in versions["Versions"]] == [(await user.row(asset_id))["version_id"]]


def known(version: Any) -> str:
    return str(version["VersionId"])
