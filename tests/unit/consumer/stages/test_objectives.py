"""Each asset counts once for its objective: in time, late, or failed. A rejected asset does not count."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from consumer.stages.objectives import AssetEnd, count_end
from media.asset import Asset, AssetType, DeliveryClass, Stage, Status
from media.errors import Code
from media.telemetry import Metrics

READY, FAILED, REJECTED = Status.READY, Status.FAILED, Status.REJECTED


def uploaded(asset_type: AssetType, seconds_ago: float) -> Asset:
    now = datetime.now(UTC)
    return Asset(
        asset_id=uuid4(),
        owner_id="dr-house",
        asset_type=asset_type,
        status=Status.PROCESSING,
        delivery=DeliveryClass.PUBLIC,
        content_type="",
        original_filename="",
        bucket="",
        key="",
        created_at=now,
        updated_at=now,
        uploaded_at=now - timedelta(seconds=seconds_ago),
    )


def counted(asset_type: AssetType, seconds: float, end: AssetEnd) -> dict[tuple[str, str], float]:
    """Count an end `seconds` after the upload; returns the counters that changed."""
    metrics = Metrics()
    count_end(metrics, uploaded(asset_type, seconds), end)
    return {
        (sample.labels["slo"], sample.labels["result"]): sample.value
        for metric in metrics.objectives.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.value
    }


IMAGE, VIDEO, PDF = AssetType.IMAGE, AssetType.VIDEO, AssetType.DOCUMENT


@pytest.mark.parametrize(
    ("seconds", "end", "result"),
    [
        (29, AssetEnd(Stage.IMAGE, READY), "good"),
        (31, AssetEnd(Stage.IMAGE, READY), "bad"),
        (1, AssetEnd(Stage.IMAGE, FAILED, Code.ATTEMPTS_EXHAUSTED), "bad"),
        (1, AssetEnd(Stage.IMAGE, FAILED, Code.STALLED), "bad"),
        (31, AssetEnd(Stage.IMAGE, REJECTED, Code.CORRUPT), None),
    ],
)
def test_image_is_good_when_ready_within_thirty_seconds(seconds: float, end: AssetEnd, result: str | None) -> None:
    assert counted(IMAGE, seconds, end) == ({("image_ready", result): 1.0} if result else {})


@pytest.mark.parametrize(
    ("seconds", "length", "result"),
    [(3500, 3600, "good"), (3700, 3600, "bad"), (880, 600, "bad"), (55, 8, "good"), (65, 8, "bad"), (65, None, "bad")],
    ids=["within its length", "longer than its length", "ten minutes", "a clip", "a slow clip", "of unknown length"],
)
def test_video_is_good_within_its_length_or_a_minute(seconds: float, length: int | None, result: str) -> None:
    end = AssetEnd(Stage.TRANSCODE, READY, duration_ms=length and length * 1000)
    assert counted(VIDEO, seconds, end) == {("video_ready", result): 1.0}


def test_failed_video_is_bad_however_soon() -> None:
    assert counted(VIDEO, 1, AssetEnd(Stage.TRANSCODE, FAILED, Code.JOB_CANCELED)) == {("video_ready", "bad"): 1.0}
    assert counted(VIDEO, 1, AssetEnd(Stage.TRANSCODE, Status.PROCESSING)) == {}


@pytest.mark.parametrize(
    ("seconds", "end", "result"),
    [
        (9, AssetEnd(Stage.SCAN, Status.PROCESSING), "good"),
        (9, AssetEnd(Stage.SCAN, REJECTED, Code.INFECTED), "good"),
        (11, AssetEnd(Stage.SCAN, Status.PROCESSING), "bad"),
        (1, AssetEnd(Stage.SCAN, FAILED, Code.ATTEMPTS_EXHAUSTED), "bad"),
        (11, AssetEnd(Stage.SCAN, REJECTED, Code.EMPTY), None),
        (11, AssetEnd(Stage.SCAN, REJECTED, Code.SOURCE_MISSING), None),
    ],
)
def test_scan_is_good_within_ten_seconds(seconds: float, end: AssetEnd, result: str | None) -> None:
    assert counted(PDF, seconds, end) == ({("scan_done", result): 1.0} if result else {})


def test_image_whose_scan_fails_is_bad_for_both_objectives() -> None:
    found = counted(IMAGE, 1, AssetEnd(Stage.SCAN, FAILED, Code.ATTEMPTS_EXHAUSTED))
    assert found == {("scan_done", "bad"): 1.0, ("image_ready", "bad"): 1.0}


def test_ended_assets_are_counted_by_code() -> None:
    metrics = Metrics()
    for end in (
        AssetEnd(Stage.IMAGE, READY),
        AssetEnd(Stage.IMAGE, REJECTED, Code.CORRUPT),
        AssetEnd(Stage.SCAN, Status.PROCESSING),
    ):
        count_end(metrics, uploaded(IMAGE, 1), end)
    found = {
        (sample.labels["status"], sample.labels["code"])
        for metric in metrics.ended.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert found == {("ready", ""), ("rejected", "corrupt")}
