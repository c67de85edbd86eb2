"""Which files a plan ends in, and what the job's last event says of them. Pure; sizes in bytes are S3's to tell."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from handlers.transcode.planning.names import HLS_NAME, M4A_NAME, MP4_NAME, POSTER_NAME
from handlers.transcode.planning.plan import AudioPlan, Plan, Rung
from handlers.transcode.planning.reported_output import OutputDetail, OutputGroupDetail

HLS_TYPE = "application/vnd.apple.mpegurl"
SEGMENT_TYPE = "video/mp2t"
MP4_TYPE = "video/mp4"
M4A_TYPE = "audio/mp4"
JPEG_TYPE = "image/jpeg"

HLS_FOLDER = HLS_NAME.rpartition("/")[0] + "/"
"""Where the master and all that it names lie, below the attempt's prefix."""
POSTER_FILE = re.compile(re.escape(POSTER_NAME) + r"\.(\d{7})\.jpg")


@dataclass(frozen=True, slots=True)
class Output:
    """One rendition's file. Pixels and milliseconds, None when not reported; for `hls` the master playlist's key."""

    name: str
    key: str
    content_type: str
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


def variant_name(rung: Rung | None) -> str:
    """What the files of one HLS variant are called, in the master's folder; None is sound alone."""
    return f"{HLS_NAME.rpartition('/')[2]}_{rung.name if rung else 'audio'}"


def other_name(sound: AudioPlan) -> str:
    """What the files of the sound in another language are called, in the master's folder."""
    return f"{HLS_NAME.rpartition('/')[2]}_sound{sound.number}"


def capture_name(number: int) -> str:
    """What a captured frame is called, below the attempt's prefix."""
    return f"{POSTER_NAME}.{number:07}.jpg"


def expected_outputs(plan: Plan, *, output_prefix: str) -> tuple[Output, ...]:
    """What the job writes below `output_prefix` (which ends in a slash), in the order of `plan.renditions`."""
    if plan.best is None:
        return (
            Output("hls", f"{output_prefix}{HLS_NAME}.m3u8", HLS_TYPE),
            Output("m4a", f"{output_prefix}{M4A_NAME}.m4a", M4A_TYPE),
        )
    width, height = plan.best.width, plan.best.height
    poster = f"{output_prefix}{capture_name(plan.poster.order[0] if plan.poster else 0)}"
    return (
        Output("hls", f"{output_prefix}{HLS_NAME}.m3u8", HLS_TYPE, width, height),
        Output("mp4", f"{output_prefix}{MP4_NAME}.mp4", MP4_TYPE, width, height),
        Output("poster", poster, JPEG_TYPE, width, height),
    )


def completed_outputs(
    plan: Plan,
    groups: Sequence[OutputGroupDetail],
    *,
    output_bucket: str,
    output_prefix: str,
    poster: str = "",
) -> tuple[Output, ...]:
    """The expected outputs, with the sizes and durations that the engine reports for them.

    Paths outside of our prefix are ignored: a report may describe our files, it cannot name others. `poster` is the key
    of the captured frame that was chosen.
    """
    base = f"s3://{output_bucket}/{output_prefix}"
    reported = {
        output.path.removeprefix(base): output
        for group in groups
        for output in group.outputs
        if output.path.startswith(base)
    }
    return tuple(
        _poster(expected, reported, poster)
        if expected.name == "poster"
        else _completed(expected, reported, output_prefix)
        for expected in expected_outputs(plan, output_prefix=output_prefix)
    )


def _completed(expected: Output, reported: dict[str, OutputDetail], prefix: str) -> Output:
    """With HLS the variants are reported, not the master: the tallest one stands for it."""
    if expected.name == "hls":
        found = [detail for path, detail in reported.items() if path.startswith(HLS_FOLDER)]
        detail = max(found, key=lambda one: one.height or 0, default=None)
    else:
        detail = reported.get(expected.key.removeprefix(prefix))
    return _merged(expected, detail)


def _poster(expected: Output, reported: dict[str, OutputDetail], chosen: str) -> Output:
    """Events name the last capture only; all have the same size."""
    detail = next((detail for path, detail in reported.items() if POSTER_FILE.fullmatch(path)), None)
    return replace(_merged(expected, detail), key=chosen or expected.key, duration_ms=None)


def _merged(expected: Output, detail: OutputDetail | None) -> Output:
    if detail is None:
        return expected
    return replace(
        expected,
        width=detail.width or expected.width,
        height=detail.height or expected.height,
        duration_ms=detail.duration_ms or expected.duration_ms,
    )
