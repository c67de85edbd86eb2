"""Reads picture and subtitle tracks from ffprobe's JSON: display sizes, rates and color. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from handlers.transcode.probing.audio_track import AudioTrack, language_of
from handlers.transcode.probing.duration import start_offset

HDR_TRANSFERS = {"smpte2084", "arib-std-b67"}
"""PQ and HLG, as ffprobe names them."""

PICTURE_CODECS = {"mjpeg", "png", "bmp"}
"""Codecs of still pictures: one single frame of them is a cover, even if it is not marked as one."""

MAX_SAMPLE_ASPECT = 10
"""Largest ratio of a pixel's width to its height, or the reverse. Beyond it the header is damaged: pixels are taken as
square."""

COMMON_RATES = tuple(
    Fraction(rate)
    for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60", "120000/1001", "120")
)
RATE_TOLERANCE = Fraction(1, 500)
"""Relative error of a rate in containers with millisecond ticks: somewhat more than half of the gap between 29.97 and
30."""

VARIABLE_TOLERANCE = Fraction(1, 100)
"""Relative difference from which two rates of one track count as different."""
TICK = 0.0021
"""Seconds by which equal gaps may differ in a container with millisecond time stamps, after two roundings."""


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """The picture track. `width` and `height` are as displayed: upright, in square pixels, not yet made even."""

    index: int
    codec: str
    profile: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation: int
    """Degrees by which a player turns the picture clockwise: 0, 90, 180 or 270."""
    anamorphic: bool
    begins: float
    """Seconds after the first track of the file."""
    frame_rate: Fraction
    variable_rate: bool
    interlaced: bool
    pixel_format: str
    color_transfer: str
    hdr: bool


@dataclass(frozen=True, slots=True)
class SubtitleTrack:
    index: int
    codec: str
    language: str | None


@dataclass(frozen=True, slots=True)
class Probed:
    """A source that was opened, read at both ends and decoded in part. `duration` is seconds, always above 0.

    `ends` are the ends of the tracks in use, by their index, in seconds from the beginning. A track may end later when
    none of its packets were seen near the end.
    """

    container: str
    duration: float
    video: VideoTrack | None
    audio: tuple[AudioTrack, ...]
    subtitles: tuple[SubtitleTrack, ...]
    ends: Mapping[int, float] = field(default_factory=dict)


def read_video(streams: Sequence[Mapping[str, Any]], times: Sequence[float] = ()) -> VideoTrack | None:
    """Return the first moving picture, whether or not it is the default track. Cover art and thumbnails do not count.

    `times` are the presentation times of some consecutive frames, in seconds. They reveal a variable rate.
    """
    moving = [stream for stream in streams if stream.get("codec_type") == "video" and not _is_still(stream)]
    if not moving:
        return None
    stream = moving[0]
    width, height, anamorphic = _size_in_square_pixels(stream)
    rotation = _rotation(stream)
    if rotation in {90, 270}:
        width, height = height, width
    rate, variable = _frame_rate(stream, times)
    transfer = str(stream.get("color_transfer", ""))
    return VideoTrack(
        index=int(stream["index"]),
        codec=str(stream.get("codec_name", "")),
        profile=str(stream.get("profile", "")),
        width=width,
        height=height,
        coded_width=int(stream.get("width", 0)),
        coded_height=int(stream.get("height", 0)),
        rotation=rotation,
        begins=start_offset(stream, streams),
        anamorphic=anamorphic,
        frame_rate=rate,
        variable_rate=variable,
        interlaced=stream.get("field_order") in {"tt", "bb", "tb", "bt"},
        pixel_format=str(stream.get("pix_fmt", "")),
        color_transfer=transfer,
        hdr=transfer in HDR_TRANSFERS,
    )


def first_picture(streams: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the index of the track that engines take: the first with pictures that is not marked as a cover."""
    pictures = (stream for stream in streams if stream.get("codec_type") == "video")
    return next((int(stream["index"]) for stream in pictures if not _disposition(stream, "attached_pic")), None)


def read_subtitles(streams: Sequence[Mapping[str, Any]]) -> tuple[SubtitleTrack, ...]:
    return tuple(
        SubtitleTrack(int(stream["index"]), str(stream.get("codec_name", "")), language_of(stream))
        for stream in streams
        if stream.get("codec_type") == "subtitle"
    )


def _is_still(stream: Mapping[str, Any]) -> bool:
    """Tell whether a track is a cover, a thumbnail, or a single picture that is not marked as a cover."""
    single = stream.get("codec_name") in PICTURE_CODECS and stream.get("nb_frames") == "1"
    return single or _disposition(stream, "attached_pic") or _disposition(stream, "timed_thumbnails")


def _disposition(stream: Mapping[str, Any], name: str) -> bool:
    return bool(stream.get("disposition", {}).get(name))


def _size_in_square_pixels(stream: Mapping[str, Any]) -> tuple[int, int, bool]:
    """Return width and height in square pixels, and whether they differ from the coded ones."""
    width, height = int(stream.get("width", 0)), int(stream.get("height", 0))
    aspect = _ratio(stream.get("sample_aspect_ratio"), ":") or Fraction(1)
    if not Fraction(1, MAX_SAMPLE_ASPECT) <= aspect <= MAX_SAMPLE_ASPECT:
        aspect = Fraction(1)
    return round(width * aspect), height, aspect != 1


def _rotation(stream: Mapping[str, Any]) -> int:
    """Return degrees clockwise, to the nearest quarter turn."""
    for side in stream.get("side_data_list", ()):
        if "rotation" in side:
            # ffprobe's display matrix counts counterclockwise.
            return round(-float(side["rotation"]) / 90) * 90 % 360
    return 0


def _frame_rate(stream: Mapping[str, Any], times: Sequence[float]) -> tuple[Fraction, bool]:
    """Return the rate at which no frame is lost, and whether the rate is variable.

    `avg_frame_rate` is frames over time. `r_frame_rate` is the lowest rate whose ticks hit every frame seen. A variable
    source must be sampled at the latter, unless its ticks are just the container's clock.
    """
    average = _ratio(stream.get("avg_frame_rate"), "/")
    base = _ratio(stream.get("r_frame_rate"), "/")
    gaps = _sorted_gaps(times)
    typical = Fraction(1 / gaps[len(gaps) // 2]).limit_denominator(1001) if gaps else None
    variable = _are_uneven(gaps) or bool(average and typical and _differ(average, typical) and _differ(average, base))
    if not variable:
        rate = _snap(average or typical or base or Fraction(25))
        # In a fragmented file the last sample may last longer. That spoils the average of a short clip, not its ticks.
        return rate if rate in COMMON_RATES or base is None or _differ(rate, base) else _snap(base), False
    rates = [rate for rate in (base, typical, average) if rate and rate <= max(COMMON_RATES)]
    return _snap(rates[0] if rates else Fraction(60)), True


def _differ(one: Fraction, other: Fraction | None) -> bool:
    return other is None or abs(one - other) > one * VARIABLE_TOLERANCE


def _sorted_gaps(times: Sequence[float]) -> list[float]:
    """Return the gaps between frames in display order, smallest first."""
    # The last four frames are left out (a reorder depth, twice): the frames that follow them in coding order, and may
    # be shown before them, were not read.
    ordered = sorted(times)[:-4] if len(times) > 8 else sorted(times)
    return sorted(b - a for a, b in pairwise(ordered) if b > a)


def _are_uneven(gaps: Sequence[float]) -> bool:
    """Tell whether more than one gap in twenty differs. A single dropped frame makes no variable rate."""
    if len(gaps) < 2:  # one gap has nothing to differ from
        return False
    median = gaps[len(gaps) // 2]
    allowed = max(TICK, median / 10)
    off = sum(abs(gap - median) > allowed for gap in gaps)
    return off * 20 > len(gaps)


def _snap(rate: Fraction) -> Fraction:
    """Return the common rate that `rate` means, else `rate` itself in small numbers."""
    nearest = min(COMMON_RATES, key=lambda common: abs(common - rate))
    return nearest if abs(nearest - rate) <= nearest * RATE_TOLERANCE else rate.limit_denominator(1001)


def _ratio(text: object, separator: str) -> Fraction | None:
    """Read `num:den` or `num/den`; None when absent, malformed, zero or infinite."""
    upper, _, lower = str(text or "").partition(separator)
    if not (upper.isdigit() and lower.isdigit()) or int(upper) == 0 or int(lower) == 0:
        return None
    return Fraction(int(upper), int(lower))
