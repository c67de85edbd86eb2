"""The files that a plan produces, and what the engine reports about them. Pure; their sizes in bytes come from S3."""

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
"""Folder of the master playlist and all files that it names, below the attempt's prefix."""
POSTER_FILE = re.compile(re.escape(POSTER_NAME) + r"\.(\d{7})\.jpg")


@dataclass(frozen=True, slots=True)
class Output:
    """One rendition's file, for `hls` the master playlist. Pixels and milliseconds are None when not reported."""

    name: str
    key: str
    content_type: str
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


def variant_name(rung: Rung | None) -> str:
    """Name the files of one HLS variant, in the master's folder. Without a rung it has audio only."""
    return f"{HLS_NAME.rpartition('/')[2]}_{rung.name if rung else 'audio'}"


def alternate_audio_name(audio: AudioPlan) -> str:
    """Name the files of the audio in another language, in the master's folder."""
    return f"{HLS_NAME.rpartition('/')[2]}_sound{audio.number}"


def capture_name(number: int) -> str:
    """Name a captured frame, below the attempt's prefix."""
    return f"{POSTER_NAME}.{number:07}.jpg"


def expected_outputs(plan: Plan, *, output_prefix: str) -> tuple[Output, ...]:
    """List the outputs below `output_prefix` (which ends in a slash), in the order of `plan.renditions`."""
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
    """Return the expected outputs, with the sizes and durations that the engine reports for them.

    Paths outside of the prefix are ignored: a report may describe our files, but not name other files. `poster` is the
    key of the chosen capture.
    """
    base = f"s3://{output_bucket}/{output_prefix}"
    reported = {
        output.path.removeprefix(base): output
        for group in groups
        for output in group.outputs
        if output.path.startswith(base)
    }
    outputs = []
    for expected in expected_outputs(plan, output_prefix=output_prefix):
        output = expected
        if detail := _find_detail(expected, reported, output_prefix):
            output = replace(
                expected,
                width=detail.width or expected.width,
                height=detail.height or expected.height,
                duration_ms=detail.duration_ms or expected.duration_ms,
            )
        if expected.name == "poster":
            output = replace(output, key=poster or expected.key, duration_ms=None)
        outputs.append(output)
    return tuple(outputs)


def _find_detail(expected: Output, reported: dict[str, OutputDetail], prefix: str) -> OutputDetail | None:
    if expected.name == "hls":
        # Engines report the variants, not the master: take the tallest one.
        variants = [detail for path, detail in reported.items() if path.startswith(HLS_FOLDER)]
        return max(variants, key=lambda one: one.height or 0, default=None)
    if expected.name == "poster":
        # Events name the last capture only. All captures have the same size.
        return next((detail for path, detail in reported.items() if POSTER_FILE.fullmatch(path)), None)
    return reported.get(expected.key.removeprefix(prefix))
