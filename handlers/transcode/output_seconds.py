"""What a transcoder is paid for: seconds of output, by the classes that MediaConvert's price list knows."""

from collections import defaultdict

from handlers.transcode.intent import Intent
from handlers.transcode.plan import Plan
from media.telemetry import Metrics

HD_FROM = 720
"""Lines of the short side from which an output counts as HD."""
FAST = 30
"""Frames per second above which an output costs more."""
LEAST = 10.0
"""Seconds that each output counts at least."""


def output_seconds(plan: Plan) -> dict[str, float]:
    """Seconds of `sd`, `hd`, `sd_fast`, `hd_fast` (above 30 fps) and `audio`, the MP4 or M4A included.

    Posters and I-frame playlists are not billed. MediaConvert's normalised minutes are these, weighed.
    """
    seconds: dict[str, float] = defaultdict(float)
    length = max(LEAST, plan.duration_ms / 1000)
    pictures = [*plan.rungs, plan.rungs[-1]] if plan.rungs else []
    suffix = "_fast" if plan.fps > FAST else ""
    for rung in pictures:
        seconds[("hd" if min(rung.width, rung.height) >= HD_FROM else "sd") + suffix] += length
    alone = len(plan.others) if pictures else 2
    if alone:
        seconds["audio"] += alone * length
    return seconds


def count_output(metrics: Metrics, intent: Intent) -> None:
    """Count a plan that was carried out."""
    for kind, seconds in output_seconds(intent.plan).items():
        metrics.transcoded.labels(intent.engine, kind).inc(seconds)
