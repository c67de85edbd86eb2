"""What a transcoder is paid for: seconds of output, by the classes that MediaConvert's price list knows."""

from collections import defaultdict

from handlers.transcode.planning.submission import Submission

HD_FROM = 720
"""Lines of the short side from which an output counts as HD."""
FAST = 30
"""Frames per second above which an output costs more."""
LEAST = 10.0
"""Seconds that each output counts at least."""


def billed_seconds(submission: Submission) -> dict[tuple[str, str], float]:
    """Return the seconds of output by engine and class.

    The classes are `sd`, `hd`, `sd_fast`, `hd_fast` (above 30 fps) and `audio`, the MP4 or M4A included. Posters and
    I-frame playlists are not billed. MediaConvert's normalized minutes are these seconds, weighted.
    """
    plan, seconds = submission.plan, defaultdict[tuple[str, str], float](float)
    length = max(LEAST, plan.duration_ms / 1000)
    pictures = [*plan.rungs, plan.rungs[-1]] if plan.rungs else []
    suffix = "_fast" if plan.fps > FAST else ""
    for rung in pictures:
        kind = ("hd" if min(rung.width, rung.height) >= HD_FROM else "sd") + suffix
        seconds[submission.engine, kind] += length
    alone = len(plan.others) if pictures else 2
    if alone:
        seconds[submission.engine, "audio"] += alone * length
    return seconds
