import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from handlers.transcode.mediaconvert.events import JobFault, JobStatus, TranscodeEvent, error_of, fault_of, parse_event
from media.errors import Code, RejectedError, RetryableError, UndecodableError

ASSET = "6f1f7a34-4c53-4d6a-9e57-1a1a8f5d0001"


def sample(corpus: Path, name: str) -> TranscodeEvent:
    envelope = json.loads((corpus / f"events/mediaconvert-{name}.json").read_text())
    return parse_event(envelope["detail"])


def test_hls_group(corpus: Path) -> None:
    event = sample(corpus, "apple-hls-group")
    assert event.status is JobStatus.COMPLETE
    assert event.final
    (group,) = event.groups
    assert group.playlists == ("s3://DOC-EXAMPLE-BUCKET/hls/main.m3u8",)
    assert [(one.width, one.height) for one in event.outputs("HLS_GROUP")] == [(426, 240), (1280, 720)]
    assert {one.duration_ms for one in group.outputs} == {180_041}
    assert (event.asset_id, event.attempt) == (None, None)


def test_complete(corpus: Path) -> None:
    event = sample(corpus, "complete")
    assert event.job_id == "1671476818694-phptj0"
    (output,) = event.outputs("FILE_GROUP")
    assert (output.path, output.width, output.height) == ("s3://DOC-EXAMPLE-BUCKET/file/file.mp4", 1920, 1080)


def test_error(corpus: Path) -> None:
    event = sample(corpus, "error")
    error = error_of(event)
    assert isinstance(error, RejectedError)
    assert (event.error_code, event.error_message) == (1040, "Example error message")
    assert "1040: Example error message" in error.detail


def test_progress(corpus: Path) -> None:
    assert sample(corpus, "progressing").percent is None
    event = sample(corpus, "status-update")
    assert (event.percent, event.phase, event.final) == (7, "TRANSCODING", False)


def detail(**fields: Any) -> dict[str, Any]:
    return {"jobId": "1-a", "status": "STATUS_UPDATE", **fields}


def test_our_metadata() -> None:
    event = parse_event(detail(userMetadata={"asset_id": ASSET, "attempt": "3"}))
    assert (event.asset_id, event.attempt) == (UUID(ASSET), 3)


@pytest.mark.parametrize(
    "odd",
    [
        {"userMetadata": None},
        {"userMetadata": {"asset_id": "not one", "attempt": "many"}},
        {"jobProgress": 7, "outputGroupDetails": "none", "warnings": {}},
        {"jobProgress": {"jobPercentComplete": "NaN"}, "outputGroupDetails": [None, {"outputDetails": [3]}]},
        {"outputGroupDetails": [{"type": "HLS_GROUP", "outputDetails": [{"outputFilePaths": [None]}]}]},
        {"somethingNew": True, "errorCode": "abc", "timestamp": float("inf")},
    ],
)
def test_odd_fields_are_left_out(odd: dict[str, Any]) -> None:
    event = parse_event(detail(**odd))
    assert (event.asset_id, event.percent, event.error_code) == (None, None, None)
    assert all(not group.outputs for group in event.groups)


def test_percent_is_bounded() -> None:
    assert parse_event(detail(jobProgress={"jobPercentComplete": 140})).percent == 100


def test_unknown_status_is_decodable() -> None:
    event = parse_event(detail(status="SLEEPING"))
    assert (event.status, event.final) == (JobStatus.UNKNOWN, False)


def test_texts_are_cleaned_for_postgres() -> None:
    event = parse_event(detail(errorMessage="no\0 \ud800!", warnings=[{"code": "2\x00", "count": 3}]))
    assert (event.error_message, event.warnings) == ("no ?!", ("2 x 3",))


@pytest.mark.parametrize("bad", [{}, {"jobId": "x"}, {"jobId": "x", "status": 7}, {"status": "COMPLETE"}])
def test_without_job_or_status_it_is_undecodable(bad: dict[str, Any]) -> None:
    with pytest.raises(UndecodableError):
        parse_event(bad)


@pytest.mark.parametrize(
    ("code", "fault"),
    [(code, JobFault.INPUT) for code in (1010, 1020, 1030, 1040, 1075, 1076)]
    + [(code, JobFault.OPERATOR) for code in (1401, 1404, 1432, 1433, 1434)]
    + [(code, JobFault.SERVICE) for code in (1550, 1999, 3999, None)],
)
def test_error_codes_are_classified_by_fault(code: int | None, fault: JobFault) -> None:
    assert fault_of(code) is fault
    error = error_of(parse_event({"jobId": "1-a", "status": "ERROR", "errorCode": code, "errorMessage": "no"}))
    assert isinstance(error, RejectedError if fault is JobFault.INPUT else RetryableError)
    if isinstance(error, RetryableError):
        assert error.code is Code.TRANSCODER_ERROR
        assert (error.retry_after is not None) is (fault is JobFault.OPERATOR)


def test_canceled_job_is_a_failure_and_complete_is_none() -> None:
    assert error_of(parse_event({"jobId": "1-a", "status": "CANCELED"})).code is Code.JOB_CANCELED
    with pytest.raises(ValueError, match="no failure"):
        error_of(parse_event(detail()))
