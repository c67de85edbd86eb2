"""Events as MediaConvert sends them, twice, in any order and too late: the asset ends right, progress only rises."""

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
from media.asset import Asset, StageState, Status
from media.asset_store.stages import Claim
from media.errors import RetryableError
from tests.integration.transcode.cases import Case
from tests.integration.transcode.studio import Studio

CORPUS = Path(__file__).parents[3] / "../shared/corpus/events"
SMALL = Case("small", 64, 64, seconds=1.5, channels=0)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SMALL.make(tmp_path_factory.mktemp("small"))


def sample(name: str, job_id: str, asset: Asset, **changes: Any) -> dict[str, Any]:
    """The detail of one of MediaConvert's own samples, about a job of ours."""
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
async def submitted(studio: Studio, clip: Path) -> tuple[Asset, str]:
    asset = await studio.asset(clip)
    return asset, await studio.submit(asset)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(percents=st.lists(st.integers(0, 100), min_size=1, max_size=6))
async def test_progress_never_runs_backwards(studio: Studio, submitted: tuple[Asset, str], percents: list[int]) -> None:
    asset, job_id = submitted
    before = (await studio.now(asset)).progress
    for percent in percents:
        await studio.tell(at(percent, job_id, asset))
        after = (await studio.now(asset)).progress
        assert after == max(before, min(percent, 99))
        before = after


async def test_every_event_twice_and_in_order(studio: Studio, submitted: tuple[Asset, str]) -> None:
    asset, job_id = submitted
    details = [sample("progressing", job_id, asset), *await studio.work_on(job_id)]
    for detail in details:
        await studio.tell(detail)
        await studio.tell(detail)
    ready = await studio.now(asset)
    assert (ready.status, ready.progress) == (Status.READY, 100)
    codes = await studio.told(asset)
    assert [codes.count(code) for code in ("rendered", "conformance", "ready")] == [1, 1, 1]


async def test_the_end_first_and_everything_else_later(studio: Studio, submitted: tuple[Asset, str]) -> None:
    asset, job_id = submitted
    *others, complete = await studio.work_on(job_id)
    assert await studio.tell(complete) is SUCCESS
    ready = await studio.now(asset)
    late = [*reversed(others), at(7, job_id, asset), sample("progressing", job_id, asset)]
    for detail in [*late, sample("error", job_id, asset), complete]:
        assert await studio.tell(detail) is DUPLICATE
    assert await studio.now(asset) == ready


async def test_the_end_before_its_submission_is_recorded_waits(studio: Studio, clip: Path) -> None:
    asset = await studio.asset(clip)
    engine = studio.mediaconvert_engine()
    claim = await studio.claim(asset)
    commit = await engine.make(claim, await plan_of(studio, asset), studio.stages.recorder(claim.fence))
    job_id = list(studio.jobs.requests)[-1]
    *_, complete = await studio.work_on(job_id)
    with pytest.raises(RetryableError):
        await studio.tell(complete)
    assert await studio.tell(at(50, job_id, asset)) is DUPLICATE
    await studio.stages.commit(claim.fence, commit)
    assert await studio.tell(complete) is SUCCESS
    assert (await studio.now(asset)).status is Status.READY


async def test_samples_of_jobs_that_are_not_ours_change_nothing(studio: Studio, submitted: tuple[Asset, str]) -> None:
    asset, job_id = submitted
    before = await studio.now(asset)
    for name in ("progressing", "status-update", "complete", "error"):
        assert await studio.tell(sample(name, job_id, asset, userMetadata={})) is IGNORED
        assert await studio.tell(sample(name, "1671476818694-phptj0", asset)) is STALE
    assert await studio.now(asset) == before


async def test_a_complete_that_names_files_which_are_not_there_submits_another_job(
    studio: Studio, submitted: tuple[Asset, str]
) -> None:
    asset, job_id = submitted
    assert await studio.tell(sample("complete", job_id, asset)) is SUCCESS
    assert (await studio.row(asset)).state is StageState.QUEUED
    assert "retry" in await studio.told(asset)
    second = await studio.submit(asset)
    assert await studio.tell(sample("complete", job_id, asset)) is STALE
    *_, complete = await studio.work_on(second)
    assert await studio.tell(complete) is SUCCESS
    assert (await studio.now(asset)).status is Status.READY


async def test_an_error_of_the_input_rejects_and_nothing_after_it_counts(
    studio: Studio, submitted: tuple[Asset, str]
) -> None:
    asset, job_id = submitted
    await studio.tell(at(60, job_id, asset))
    assert (await studio.tell(sample("error", job_id, asset, errorCode=1076))).kind is OutcomeKind.REJECTED
    rejected = await studio.now(asset)
    assert (rejected.status, rejected.code, rejected.progress) == (Status.REJECTED, "corrupt", 60)
    for name in ("status-update", "complete", "error"):
        assert await studio.tell(sample(name, job_id, asset)) is STALE
    assert await studio.now(asset) == rejected


async def test_a_claim_that_moves_on_never_runs_backwards(studio: Studio, clip: Path) -> None:
    asset = await studio.asset(clip)
    claim = await studio.claim(asset)
    for percent, expected in ((10, 10), (40, 40), (30, 40), (100, 99)):
        await studio.stages.record_progress(claim.fence, percent)
        assert (await studio.now(asset)).progress == expected
    await studio.stages.release(claim.fence, forgive=True)
    again = await studio.claim(asset)
    await studio.stages.record_progress(again.fence, 5)
    assert (await studio.now(asset)).progress == 99
    assert isinstance(again, Claim)


async def test_a_warning_is_noted_once_for_each_job(studio: Studio, submitted: tuple[Asset, str]) -> None:
    asset, job_id = submitted

    def warning(job: str, attempt: int, count: int, code: int = 230001) -> dict[str, Any]:
        metadata = {"asset_id": str(asset.asset_id), "attempt": str(attempt)}
        found = [{"code": code, "count": count}]
        return {"jobId": job, "status": "NEW_WARNING", "userMetadata": metadata, "warnings": found}

    for detail in (warning(job_id, 1, 1), warning(job_id, 1, 1), warning(job_id, 1, 2), warning(job_id, 1, 1, 220000)):
        await studio.tell(detail)
    assert await warnings(studio, asset) == ["230001 x 1", "220000 x 1"]
    await studio.tell(sample("complete", job_id, asset))
    second = await studio.submit(asset)
    for _ in range(2):
        await studio.tell(warning(second, 2, 1))
    assert await warnings(studio, asset) == ["230001 x 1", "220000 x 1", "230001 x 1"]


async def test_a_status_that_is_not_known_changes_nothing(studio: Studio, submitted: tuple[Asset, str]) -> None:
    asset, job_id = submitted
    before = await studio.now(asset)
    assert await studio.tell(sample("status-update", job_id, asset, status="WEIRD")) is IGNORED
    assert await studio.now(asset) == before


async def warnings(studio: Studio, asset: Asset) -> list[str]:
    return [entry.detail for entry in await studio.assets.timeline(asset.asset_id) if entry.code == "job_warning"]


async def plan_of(studio: Studio, asset: Asset) -> Plan:
    url = await studio.finalizer.storage.presign(asset.source, seconds=60)
    return plan(await Prober().probe(url, asset_type=asset.asset_type), asset.asset_type)
