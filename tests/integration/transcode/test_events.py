"""Events arrive twice, in any order and late: the asset ends correctly, and progress only rises."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.queue.outcome import DUPLICATE, IGNORED, STALE, SUCCESS, OutcomeKind
from handlers.transcode.planning.ladder import plan
from handlers.transcode.planning.plan import Plan
from handlers.transcode.probing.prober import Prober
from media.asset import Asset, ObjectVersion, Stage, StageState, Status, output_prefix
from media.asset_store.housekeeping import Housekeeping, Retention
from media.asset_store.stages import Claim
from media.aws.s3 import ObjectStorage
from media.errors import RetryableError
from media.outbox import Outbox
from tests.integration.transcode.engine_harness import Harness
from tests.integration.transcode.source_clips import Clip

CORPUS = Path(__file__).parents[3] / "../shared/corpus/events"
SMALL = Clip("small", 64, 64, seconds=1.5, channels=0)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SMALL.make(tmp_path_factory.mktemp("small"))


def sample(name: str, job_id: str, asset: Asset, **changes: Any) -> dict[str, Any]:
    """Return the detail of one of MediaConvert's own samples, changed to one of our jobs."""
    path = CORPUS / f"mediaconvert-{name}.json"
    if not path.exists():
        pytest.skip("the shared corpus does not lie beside the repository")
    detail: dict[str, Any] = json.loads(path.read_text())["detail"]
    metadata = {"asset_id": str(asset.asset_id), "attempt": "1"}
    return {**detail, "jobId": job_id, "userMetadata": metadata, **changes}


def at(percent: int, job_id: str, asset: Asset) -> dict[str, Any]:
    progress = {"jobPercentComplete": percent, "currentPhase": "TRANSCODING"}
    return sample("status-update", job_id, asset, jobProgress=progress)


@pytest.fixture
async def submitted(harness: Harness, clip: Path) -> tuple[Asset, str]:
    asset = await harness.add_asset(clip)
    return asset, await harness.submit(asset)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(percents=st.lists(st.integers(0, 100), min_size=1, max_size=6))
async def test_progress_never_runs_backwards(
    harness: Harness, submitted: tuple[Asset, str], percents: list[int]
) -> None:
    asset, job_id = submitted
    before = (await harness.reload(asset)).progress
    for percent in percents:
        await harness.apply_event(at(percent, job_id, asset))
        after = (await harness.reload(asset)).progress
        assert after == max(before, min(percent, 99))
        before = after


async def test_repeated_events_change_nothing(harness: Harness, submitted: tuple[Asset, str]) -> None:
    asset, job_id = submitted
    details = [sample("progressing", job_id, asset), *await harness.run_job(job_id)]
    for detail in details:
        await harness.apply_event(detail)
        await harness.apply_event(detail)
    ready = await harness.reload(asset)
    assert (ready.status, ready.progress) == (Status.READY, 100)
    codes = await harness.timeline_codes(asset)
    assert [codes.count(code) for code in ("rendered", "conformance", "ready")] == [1, 1, 1]


async def test_events_after_the_end_change_nothing(harness: Harness, submitted: tuple[Asset, str]) -> None:
    asset, job_id = submitted
    *others, complete = await harness.run_job(job_id)
    assert await harness.apply_event(complete) is SUCCESS
    ready = await harness.reload(asset)
    late = [*reversed(others), at(7, job_id, asset), sample("progressing", job_id, asset)]
    for detail in [*late, sample("error", job_id, asset), complete]:
        assert await harness.apply_event(detail) is DUPLICATE
    assert await harness.reload(asset) == ready


async def test_events_of_a_job_whose_plan_is_forgotten_remove_nothing(
    harness: Harness, submitted: tuple[Asset, str]
) -> None:
    asset, job_id = submitted
    *_, complete = await harness.run_job(job_id)
    assert await harness.apply_event(complete) is SUCCESS
    await Housekeeping(harness.database, Retention()).drop_plans(0)
    assert await harness.apply_event(complete) is DUPLICATE
    assert await Outbox(harness.database, {}).pending_of(asset.asset_id) == []


async def test_end_before_the_submission_is_recorded_is_retried(harness: Harness, clip: Path) -> None:
    asset = await harness.add_asset(clip)
    engine = harness.mediaconvert_engine()
    claim = await harness.claim(asset)
    commit = await engine.make(claim, await plan_of(harness, asset), harness.stages.recorder(claim.fence))
    job_id = list(harness.jobs.requests)[-1]
    *_, complete = await harness.run_job(job_id)
    with pytest.raises(RetryableError):
        await harness.apply_event(complete)
    assert await harness.apply_event(at(50, job_id, asset)) is DUPLICATE
    await harness.stages.commit(claim.fence, commit)
    assert await harness.apply_event(complete) is SUCCESS
    assert (await harness.reload(asset)).status is Status.READY


async def test_events_of_other_jobs_change_nothing(harness: Harness, submitted: tuple[Asset, str]) -> None:
    asset, job_id = submitted
    before = await harness.reload(asset)
    for name in ("progressing", "status-update", "complete", "error"):
        assert await harness.apply_event(sample(name, job_id, asset, userMetadata={})) is IGNORED
        assert await harness.apply_event(sample(name, "1671476818694-phptj0", asset)) is STALE
    assert await harness.reload(asset) == before


async def test_complete_event_without_its_files_submits_another_job(
    harness: Harness, submitted: tuple[Asset, str]
) -> None:
    asset, job_id = submitted
    assert await harness.apply_event(sample("complete", job_id, asset)) is SUCCESS
    assert (await harness.stage_row(asset)).state is StageState.QUEUED
    assert "retry" in await harness.timeline_codes(asset)
    second = await harness.submit(asset)
    assert await harness.apply_event(sample("complete", job_id, asset)) is STALE
    *_, complete = await harness.run_job(second)
    assert await harness.apply_event(complete) is SUCCESS
    assert (await harness.reload(asset)).status is Status.READY


async def test_complete_job_whose_film_is_shorter_than_planned_is_made_again(
    harness: Harness, submitted: tuple[Asset, str]
) -> None:
    asset, job_id = submitted
    *_, complete = await harness.run_job(job_id)
    prefix = output_prefix(asset, Stage.TRANSCODE, 1)
    lost = [prefix + key for key in await harness.output_keys(asset) if key.endswith(".ts")]
    for key in lost:  # the first quarter of each segment, in whole packets of a transport stream
        stored = await ObjectStorage(harness.s3).read(ObjectVersion(harness.bucket, key), limit=10**8)
        await harness.s3.put_object(Bucket=harness.bucket, Key=key, Body=stored[: len(stored) // 4 // 188 * 188])
    assert lost
    assert await harness.apply_event(complete) is SUCCESS
    assert (await harness.stage_row(asset)).state is StageState.QUEUED
    *_, complete = await harness.run_job(await harness.submit(asset))
    assert await harness.apply_event(complete) is SUCCESS
    assert (await harness.reload(asset)).status is Status.READY


async def test_input_error_rejects_and_later_events_change_nothing(
    harness: Harness, submitted: tuple[Asset, str]
) -> None:
    asset, job_id = submitted
    await harness.apply_event(at(60, job_id, asset))
    assert (await harness.apply_event(sample("error", job_id, asset, errorCode=1076))).kind is OutcomeKind.REJECTED
    rejected = await harness.reload(asset)
    assert (rejected.status, rejected.code, rejected.progress) == (Status.REJECTED, "corrupt", 60)
    for name in ("status-update", "complete", "error"):
        assert await harness.apply_event(sample(name, job_id, asset)) is STALE
    assert await harness.reload(asset) == rejected


async def test_progress_of_a_claim_never_runs_backwards(harness: Harness, clip: Path) -> None:
    asset = await harness.add_asset(clip)
    claim = await harness.claim(asset)
    for percent, expected in ((10, 10), (40, 40), (30, 40), (100, 99)):
        await harness.stages.record_progress(claim.fence, percent)
        assert (await harness.reload(asset)).progress == expected
    await harness.stages.release(claim.fence, forgive=True)
    again = await harness.claim(asset)
    await harness.stages.record_progress(again.fence, 5)
    assert (await harness.reload(asset)).progress == 99
    assert isinstance(again, Claim)


async def test_a_warning_is_noted_once_for_each_job(harness: Harness, submitted: tuple[Asset, str]) -> None:
    asset, job_id = submitted

    def warning(job: str, attempt: int, count: int, code: int = 230001) -> dict[str, Any]:
        metadata = {"asset_id": str(asset.asset_id), "attempt": str(attempt)}
        found = [{"code": code, "count": count}]
        return {"jobId": job, "status": "NEW_WARNING", "userMetadata": metadata, "warnings": found}

    for detail in (warning(job_id, 1, 1), warning(job_id, 1, 1), warning(job_id, 1, 2), warning(job_id, 1, 1, 220000)):
        await harness.apply_event(detail)
    assert await warnings(harness, asset) == ["230001 x 1", "220000 x 1"]
    await harness.apply_event(sample("complete", job_id, asset))
    second = await harness.submit(asset)
    for _ in range(2):
        await harness.apply_event(warning(second, 2, 1))
    assert await warnings(harness, asset) == ["230001 x 1", "220000 x 1", "230001 x 1"]


async def test_unknown_status_changes_nothing(harness: Harness, submitted: tuple[Asset, str]) -> None:
    asset, job_id = submitted
    before = await harness.reload(asset)
    assert await harness.apply_event(sample("status-update", job_id, asset, status="WEIRD")) is IGNORED
    assert await harness.reload(asset) == before


async def warnings(harness: Harness, asset: Asset) -> list[str]:
    return [entry.detail for entry in await harness.assets.timeline(asset.asset_id) if entry.code == "job_warning"]


async def plan_of(harness: Harness, asset: Asset) -> Plan:
    url = await harness.finalizer.storage.presign(asset.source, seconds=60)
    return plan(await Prober().probe(url, asset_type=asset.asset_type), asset.asset_type)
