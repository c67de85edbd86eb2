"""What the service promises of time, and the one place where an asset's end is counted against it.

Each asset counts once for an objective, when it is committed: in time, or late, or failed by our own fault, which is as
bad as late. What is rejected is its sender's fault and no event of an objective that speaks of `ready`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from media.asset import Asset, AssetType, Stage, Status
from media.errors import Code
from media.telemetry import Metrics, Objective

IMAGE_SECONDS = 30.0
"""From the upload to `ready`."""
SCAN_SECONDS = 10.0
"""From the upload to the verdict."""
SHORTEST_VIDEO = 60.0
"""Seconds that a video may take however short it is; a longer one may take as long as it plays.

Ten are the scan's own. The others are what a job costs whatever its length: its place in MediaConvert's queue, three
messages, two probes, and the look at what was written. Who uploads eight seconds waits a minute for them, not eight.
"""
UNSCANNED = frozenset({Code.SOURCE_MISSING, Code.SOURCE_CHANGED, Code.EMPTY, Code.TOO_LARGE})
"""Rejected before a scanner saw a byte: no scan, so neither a good one nor a bad one."""
_ENDS = frozenset({Status.READY, Status.REJECTED, Status.FAILED})


@dataclass(frozen=True, slots=True)
class AssetEnd:
    """How a stage of an asset was committed. `duration_ms` is the video's, where it is known by now."""

    stage: Stage
    status: Status
    code: str = ""
    duration_ms: int | None = None


def count_end(metrics: Metrics, asset: Asset, end: AssetEnd) -> None:
    """Count what was committed just now; what leaves the asset at work in the same stage counts nowhere."""
    # By this machine's clock; one that is behind counts as no time at all.
    now = datetime.now(UTC)
    seconds = max(0.0, (now - (asset.uploaded_at or now)).total_seconds())
    if end.stage is Stage.SCAN and end.code not in UNSCANNED:
        _judge(metrics, Objective.SCAN_DONE, good=end.status is not Status.FAILED and seconds <= SCAN_SECONDS)
        metrics.scan_done.observe(seconds)
    if end.status in _ENDS:
        metrics.ended.labels(asset.asset_type, end.status, end.code).inc()
    if end.status is Status.READY:
        metrics.ready.labels(asset.asset_type).observe(seconds)
    if end.status in {Status.READY, Status.FAILED}:
        _ready_or_failed(metrics, asset, end, seconds)


def _ready_or_failed(metrics: Metrics, asset: Asset, end: AssetEnd, seconds: float) -> None:
    ready = end.status is Status.READY
    if asset.asset_type is AssetType.IMAGE:
        _judge(metrics, Objective.IMAGE_READY, good=ready and seconds <= IMAGE_SECONDS)
    elif asset.asset_type is AssetType.VIDEO:
        length = (end.duration_ms or asset.duration_ms or 0) / 1000
        _judge(metrics, Objective.VIDEO_READY, good=ready and seconds <= max(length, SHORTEST_VIDEO))
        if ready and length:
            metrics.video_ratio.observe(seconds / length)


def _judge(metrics: Metrics, objective: Objective, *, good: bool) -> None:
    metrics.objectives.labels(objective, "good" if good else "bad").inc()
