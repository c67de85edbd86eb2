"""The service level objectives, and the one place that counts assets against them.

Each asset counts once for an objective, when its stage is committed: good in time, bad when late or failed by our own
fault. A rejected asset is its sender's fault, and does not count for an objective about `ready`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from media.asset import Asset, AssetType, Stage, Status
from media.errors import Code
from media.telemetry import Metrics, Objective, exemplar

IMAGE_SECONDS = 30.0
"""Seconds from the upload of an image to `ready`."""
SCAN_SECONDS = 10.0
"""Seconds from the upload to the scan's verdict."""
SHORTEST_VIDEO = 60.0
"""Seconds from the upload to `ready` of a short video. A longer one may take as long as it plays.

Ten are the scan's. The others are the fixed cost of a job: MediaConvert's queue, three messages, two probes, and the
check of the outputs. A video of eight seconds may therefore take a minute, not eight seconds.
"""
UNSCANNED = frozenset({Code.SOURCE_MISSING, Code.SOURCE_CHANGED, Code.EMPTY, Code.TOO_LARGE})
"""Codes of assets that ended before the scanner saw a byte: no scan, neither a good one nor a bad one."""
_ENDS = frozenset({Status.READY, Status.REJECTED, Status.FAILED})


@dataclass(frozen=True, slots=True)
class AssetEnd:
    """How a stage of an asset was committed. `duration_ms` is the video's, where the stage found it out."""

    stage: Stage
    status: Status
    code: str = ""
    duration_ms: int | None = None


def count_end(metrics: Metrics, asset: Asset, end: AssetEnd) -> None:
    """Count a commit that was just made. It counts for an objective when it ends the scan or the asset."""
    # The times are from two clocks: where ours is behind, the difference counts as zero.
    now = datetime.now(UTC)
    seconds = max(0.0, (now - (asset.uploaded_at or now)).total_seconds())
    if end.stage is Stage.SCAN and end.code not in UNSCANNED:
        _judge(metrics, Objective.SCAN_DONE, good=end.status is not Status.FAILED and seconds <= SCAN_SECONDS)
        metrics.scan_done.observe(seconds, exemplar(asset.trace_id))
    if end.status in _ENDS:
        metrics.ended.labels(asset.asset_type, end.status, end.code).inc()
    if end.status is Status.READY:
        metrics.ready.labels(asset.asset_type).observe(seconds, exemplar(asset.trace_id))
    if end.status not in {Status.READY, Status.FAILED}:
        return
    ready = end.status is Status.READY
    if asset.asset_type is AssetType.IMAGE:
        _judge(metrics, Objective.IMAGE_READY, good=ready and seconds <= IMAGE_SECONDS)
    elif asset.asset_type is AssetType.VIDEO:
        length = (end.duration_ms or asset.duration_ms or 0) / 1000
        _judge(metrics, Objective.VIDEO_READY, good=ready and seconds <= max(length, SHORTEST_VIDEO))
        if ready and length:
            metrics.video_ratio.observe(seconds / length, exemplar(asset.trace_id))


def _judge(metrics: Metrics, objective: Objective, *, good: bool) -> None:
    metrics.objectives.labels(objective, "good" if good else "bad").inc()
