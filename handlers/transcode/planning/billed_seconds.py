"""Counts what a transcoder bills: seconds of output, by the classes of MediaConvert's price list. Pure."""

from collections import defaultdict

from handlers.transcode.planning.submission import Submission

HD_FROM = 720
"""Lines of the short side from which an output counts as HD."""
FAST = 30
"""Frames per second above which an output costs more."""
LEAST = 10.0
"""Seconds that each output is billed at least."""


def billed_seconds(submission: Submission) -> dict[tuple[str, str], float]:
    """Return the seconds of output by engine and class.

    The classes are `sd`, `hd`, `sd_fast`, `hd_fast` (above 30 fps) and `audio`, the MP4 or M4A included. Posters and
    I-frame playlists are not billed. MediaConvert's normalized minutes are these seconds, weighted.
    """
    plan, seconds = submission.plan, defaultdict[tuple[str, str], float](float)
    length = max(LEAST, plan.duration_ms / 1000)
    picture_outputs = [*plan.rungs, plan.rungs[-1]] if plan.rungs else []
    suffix = "_fast" if plan.fps > FAST else ""
    for rung in picture_outputs:
        kind = ("hd" if min(rung.width, rung.height) >= HD_FROM else "sd") + suffix
        seconds[submission.engine, kind] += length
    # Without a picture, audio is billed twice: for HLS and for the M4A.
    audio_outputs = len(plan.alternate_audio) if picture_outputs else 2
    if audio_outputs:
        seconds[submission.engine, "audio"] += audio_outputs * length
    return seconds
