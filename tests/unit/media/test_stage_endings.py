"""How a stage ends, as a table: what is committed, which outputs go, and what counts as an attempt."""

from dataclasses import replace

import pytest

from media.asset import AssetType, DeliveryClass, Rendition, Stage, StageState, Status, moved_key, output_prefix
from media.asset_store.stages import Claim, Commit
from media.errors import Code, FailedError, MediaError, RejectedError, RetryableError
from media.outbox import Effect, EffectKind
from media.stage_endings import MAX_CLEANED_ATTEMPTS, EndingRules
from media.stage_requests import QUEUE_OF, request
from tests.fakes.assets import VIDEO

ASSET = replace(VIDEO, trace_id="Root=1-trace")
RULES = EndingRules("bucket", max_attempts=3)
DONE = Commit(StageState.DONE, Status.READY)


def claim(
    attempt: int = 2, *, tries: int | None = None, stage: Stage = Stage.TRANSCODE, waiting: bool = False
) -> Claim:
    state = StageState.WAITING if waiting else StageState.LEASED
    return Claim(ASSET, stage, attempt, attempt if tries is None else tries, None, state, "job" if waiting else None)


def removed(effects: object) -> list[str]:
    """Return the attempts whose outputs are removed, as `stage-attempt`."""
    assert isinstance(effects, list | tuple)
    prefixes = [effect.body["prefix"] for effect in effects if effect.kind is EffectKind.DELETE_PREFIX]
    return [prefix.rstrip("/").rsplit("/", 1)[-1] for prefix in prefixes]


def test_a_finished_stage_keeps_only_the_attempt_that_is_served() -> None:
    key = f"{output_prefix(ASSET, Stage.TRANSCODE, 2)}hls/master.m3u8"
    served = replace(DONE, renditions=[Rendition("hls", key, "x", 1)])
    assert removed(RULES.finish(claim(4), served).effects) == ["transcode-1", "transcode-3", "transcode-4"]


def test_a_clean_up_leaves_what_a_change_of_delivery_waits_to_remove() -> None:
    moved = replace(ASSET, delivery_changes=3)
    served = [moved_key(f"{output_prefix(ASSET, Stage.TRANSCODE, 2)}clip.mp4", DeliveryClass.PUBLIC, 3)]
    assert removed(RULES.orphaned_outputs(moved, Stage.TRANSCODE, 2, served)) == [
        "transcode-1",
        "transcode-1-m2",
        "transcode-1-m3",
    ]


def test_a_file_moves_to_a_folder_of_each_change() -> None:
    key = f"{output_prefix(ASSET, Stage.TRANSCODE, 2)}hls/a.ts"
    place = key.partition("/")[2].partition("/transcode-2/")[0]
    there = moved_key(key, DeliveryClass.PUBLIC, 1)
    assert there == f"public/{place}/transcode-2-m1/hls/a.ts"
    assert moved_key(there, DeliveryClass.COURSE_VIDEO, 2) == f"processed/{place}/transcode-2-m2/hls/a.ts"
    assert moved_key(key, DeliveryClass.WEBINAR_VOD, 1) == key
    assert moved_key("uploads/video/o/id/clip.mp4", DeliveryClass.PUBLIC, 1) == "uploads/video/o/id/clip.mp4"


def test_a_submitted_job_removes_nothing() -> None:
    """An earlier attempt's job may have been adopted, and still writes."""
    submitted = Commit(StageState.WAITING, Status.PROCESSING, job_id="job")
    assert RULES.finish(claim(3), submitted) == submitted


def test_one_clean_up_is_bounded_whatever_ended_the_stage() -> None:
    latest = [f"transcode-{n}" for n in range(51, 101)]
    assert len(latest) == MAX_CLEANED_ATTEMPTS
    crowded = claim(100, tries=3)
    failed = RULES.fail(crowded, RetryableError(Code.TRANSCODER_ERROR)).commit
    assert failed
    for effects in (
        RULES.finish(crowded, DONE).effects,
        failed.effects,
        RULES.fail_stalled(crowded).effects,
        RULES.orphaned_outputs(ASSET, Stage.TRANSCODE, 100, ()),
    ):
        assert removed(effects) == latest


def test_a_scan_leaves_files_for_documents_only() -> None:
    document = replace(ASSET, asset_type=AssetType.DOCUMENT)
    scan = replace(claim(2, stage=Stage.SCAN), asset=document)
    assert removed(RULES.finish(scan, DONE).effects) == ["scan-1", "scan-2"]
    assert removed(RULES.abandon(scan)) == ["scan-2"]
    assert RULES.finish(claim(2, stage=Stage.SCAN), DONE).effects == []
    assert RULES.abandon(claim(2, stage=Stage.SCAN)) == []


@pytest.mark.parametrize(
    "error",
    [
        RejectedError(Code.CORRUPT, "no such page"),
        RejectedError(Code.RESOURCE_LIMIT),
        RetryableError(Code.UNFORESEEN, "odd"),
        RetryableError(Code.STORAGE_ERROR),
    ],
)
def test_a_document_whose_pages_cannot_be_made_is_ready(error: MediaError) -> None:
    pages = replace(claim(3, stage=Stage.IMAGE), asset=replace(ASSET, asset_type=AssetType.DOCUMENT))
    failure = RULES.fail(pages, error)
    assert failure.commit
    assert (failure.commit.state, failure.commit.status, failure.commit.code) == (StageState.DONE, Status.READY, None)
    assert [note.code for note in failure.commit.facts.notes] == ["no_preview"]
    assert [note.code for note in failure.commit.notes] == ["no_preview", "ready"]
    assert removed(failure.commit.effects) == ["image-1", "image-2", "image-3"]
    assert RULES.fail_stalled(pages).status is Status.READY


def test_a_document_whose_pages_may_come_yet_is_tried_again() -> None:
    pages = replace(claim(2, stage=Stage.IMAGE), asset=replace(ASSET, asset_type=AssetType.DOCUMENT))
    assert RULES.fail(pages, RetryableError(Code.UNFORESEEN)).commit is None


@pytest.mark.parametrize("code", [Code.SOURCE_MISSING, Code.SOURCE_CHANGED])
def test_a_document_whose_file_is_gone_is_not_ready(code: Code) -> None:
    pages = replace(claim(1, stage=Stage.IMAGE), asset=replace(ASSET, asset_type=AssetType.DOCUMENT))
    commit = RULES.fail(pages, RejectedError(code)).commit
    assert commit
    assert (commit.status, commit.code) == (Status.REJECTED, code)


@pytest.mark.parametrize("waiting", [False, True], ids=["leased", "waiting"])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RejectedError(Code.CORRUPT, "cut"), Status.REJECTED, Code.CORRUPT),
        (FailedError(Code.JOB_CANCELED, "by hand"), Status.FAILED, Code.JOB_CANCELED),
        (RetryableError(Code.TRANSCODER_ERROR, "no"), Status.FAILED, Code.ATTEMPTS_EXHAUSTED),
        (RetryableError(Code.UNFORESEEN, "odd", code_when_exhausted=Code.CORRUPT), Status.REJECTED, Code.CORRUPT),
    ],
)
def test_the_last_attempt_ends_the_stage(error: MediaError, status: Status, code: Code, *, waiting: bool) -> None:
    last = claim(3, waiting=waiting)
    failure = RULES.fail(last, error)
    assert failure.commit
    assert (failure.commit.status, failure.commit.code) == (status, code)
    assert failure.counts is not isinstance(error, RejectedError)
    assert removed(failure.commit.effects) == ["transcode-1", "transcode-2", "transcode-3"]


def test_a_leased_stage_is_tried_again_by_its_own_message() -> None:
    failure = RULES.fail(claim(2), RetryableError(Code.STORAGE_ERROR))
    assert failure.commit is None
    assert failure.counts


def test_waiting_counts_no_attempt_and_never_ends_the_stage() -> None:
    failure = RULES.fail(claim(9), RetryableError(Code.SOURCE_CHANGED, counts_as_attempt=False))
    assert failure.commit is None
    assert not failure.counts


def test_failed_job_requests_another_one_with_the_assets_trace() -> None:
    failure = RULES.fail(claim(2, waiting=True), RetryableError(Code.TRANSCODER_ERROR))
    assert failure.commit
    assert failure.commit.state is StageState.QUEUED
    assert failure.commit.effects[0] == request(Stage.TRANSCODE, ASSET)
    assert failure.commit.effects[0].body["trace_id"] == ASSET.trace_id
    assert removed(failure.commit.effects) == ["transcode-1", "transcode-2"]


def test_disturbed_job_counts_as_an_attempt() -> None:
    """Each job is paid for: a client that uploads beside each must not have jobs repeated without end."""
    failure = RULES.fail(claim(3, waiting=True), RetryableError(Code.SOURCE_CHANGED, counts_as_attempt=False))
    assert failure.commit
    assert failure.commit.status is Status.FAILED


def test_a_stage_whose_workers_all_died_is_found_by_the_next_claim() -> None:
    RULES.check_attempts(claim(9, tries=3))
    with pytest.raises(RetryableError) as caught:
        RULES.check_attempts(claim(9, tries=4))
    assert caught.value.code is Code.WORKER_CRASHED


def test_failing_a_stalled_stage_cancels_its_job() -> None:
    commit = RULES.fail_stalled(claim(1, waiting=True))
    assert (commit.status, commit.code) == (Status.FAILED, Code.STALLED)
    assert Effect(EffectKind.CANCEL_JOB, "job", {}) in commit.effects


def test_deleting_an_asset_removes_everything_but_foreign_sources() -> None:
    kinds = [effect.kind for effect in RULES.delete(ASSET, "job")]
    assert kinds == [*[EffectKind.DELETE_PREFIX] * 3, EffectKind.DELETE_KEY, EffectKind.CANCEL_JOB]
    recording = replace(ASSET, bucket="webinars")
    assert [effect.kind for effect in RULES.delete(recording, None)] == [EffectKind.DELETE_PREFIX] * 3


@pytest.mark.parametrize("stage", list(Stage))
def test_a_request_names_the_bound_version_its_trace_and_its_tenant(stage: Stage) -> None:
    effect = request(stage, ASSET)
    assert (effect.target, effect.group_id) == (QUEUE_OF[stage], "owner")
    body = {name: effect.body[name] for name in ("type", "version_id", "key", "trace_id")}
    assert body == {"type": f"{stage}.requested", "version_id": "v", "key": ASSET.key, "trace_id": ASSET.trace_id}
