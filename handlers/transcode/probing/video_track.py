"""What a source holds, read from ffprobe's JSON: display sizes, rates, colour and subtitles. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from handlers.transcode.probing.audio_track import AudioTrack, language_of
from handlers.transcode.probing.duration import begins

HDR_TRANSFERS = {"smpte2084", "arib-std-b67"}
"""PQ and HLG, as ffprobe names them."""

PICTURE_CODECS = {"mjpeg", "png", "bmp"}

MAX_SAMPLE_ASPECT = 10
"""A pixel more than ten times as wide as high (or the reverse) is a damaged header, not a lens; taken as square."""

COMMON_RATES = tuple(
    Fraction(rate)
    for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60", "120000/1001", "120")
)
RATE_TOLERANCE = Fraction(1, 500)
"""Half of the gap between 29.97 and 30, and then some: what containers with millisecond ticks are off by."""

VARIABLE_TOLERANCE = Fraction(1, 100)
TICK = 0.0021
"""Seconds by which equal gaps may differ in a container with millisecond time stamps (two roundings)."""


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """The picture. `width` and `height` are as displayed: upright and in square pixels, not yet made even."""

    index: int
    codec: str
    profile: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation: int
    """Degrees clockwise that the player turns the picture: 0, 90, 180 or 270."""
    anamorphic: bool
    begins: float
    """Seconds after the first of all tracks."""
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

    `ends` says when each track in use ends, by its index, in seconds from the beginning: at least then, where nothing
    of the track was seen near the end.
    """

    container: str
    duration: float
    video: VideoTrack | None
    audio: tuple[AudioTrack, ...]
    subtitles: tuple[SubtitleTrack, ...]
    ends: Mapping[int, float] = field(default_factory=dict)


def read_video(streams: Sequence[Mapping[str, Any]], times: Sequence[float] = ()) -> VideoTrack | None:
    """The first moving picture, marked as the default or not, or None. Cover art and thumbnails do not count.

    `times` are the presentation times of some consecutive frames, in seconds; they tell a variable rate.
    """
    moving = [stream for stream in streams if stream.get("codec_type") == "video" and not _still(stream)]
    if not moving:
        return None
    stream = moving[0]
    width, height, anamorphic = _square(stream)
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
        begins=begins(stream, streams),
        anamorphic=anamorphic,
        frame_rate=rate,
        variable_rate=variable,
        interlaced=stream.get("field_order") in {"tt", "bb", "tb", "bt"},
        pixel_format=str(stream.get("pix_fmt", "")),
        color_transfer=transfer,
        hdr=transfer in HDR_TRANSFERS,
    )


def first_picture(streams: Sequence[Mapping[str, Any]]) -> int | None:
    """The index of the track that engines take: the first one with pictures that is not marked as a cover."""
    pictures = (stream for stream in streams if stream.get("codec_type") == "video")
    return next((int(stream["index"]) for stream in pictures if not _disposition(stream, "attached_pic")), None)


def read_subtitles(streams: Sequence[Mapping[str, Any]]) -> tuple[SubtitleTrack, ...]:
    return tuple(
        SubtitleTrack(int(stream["index"]), str(stream.get("codec_name", "")), language_of(stream))
        for stream in streams
        if stream.get("codec_type") == "subtitle"
    )


def _still(stream: Mapping[str, Any]) -> bool:
    """A cover, a preview, or a single picture coded as such that nobody marked as a cover."""
    single = stream.get("codec_name") in PICTURE_CODECS and stream.get("nb_frames") == "1"
    return single or _disposition(stream, "attached_pic") or _disposition(stream, "timed_thumbnails")


def _disposition(stream: Mapping[str, Any], name: str) -> bool:
    return bool(stream.get("disposition", {}).get(name))


def _square(stream: Mapping[str, Any]) -> tuple[int, int, bool]:
    """Width and height in square pixels, and whether they differ from the coded ones."""
    width, height = int(stream.get("width", 0)), int(stream.get("height", 0))
    aspect = _ratio(stream.get("sample_aspect_ratio"), ":") or Fraction(1)
    if not Fraction(1, MAX_SAMPLE_ASPECT) <= aspect <= MAX_SAMPLE_ASPECT:
        aspect = Fraction(1)
    return round(width * aspect), height, aspect != 1


def _rotation(stream: Mapping[str, Any]) -> int:
    """Degrees clockwise, to the nearest quarter turn: ffprobe's display matrix counts counter-clockwise."""
    for side in stream.get("side_data_list", ()):
        if "rotation" in side:
            return round(-float(side["rotation"]) / 90) * 90 % 360
    return 0


def _frame_rate(stream: Mapping[str, Any], times: Sequence[float]) -> tuple[Fraction, bool]:
    """The rate at which nothing is lost, and whether the frames come irregularly.

    `avg_frame_rate` is frames over time; `r_frame_rate` is the lowest rate whose ticks hit every frame seen, so it is
    what a variable source must be sampled at, unless the ticks are just the container's clock.
    """
    average = _ratio(stream.get("avg_frame_rate"), "/")
    base = _ratio(stream.get("r_frame_rate"), "/")
    gaps = _gaps(times)
    typical = Fraction(1 / gaps[len(gaps) // 2]).limit_denominator(1001) if gaps else None
    variable = _uneven(gaps) or bool(average and typical and _apart(average, typical) and _apart(average, base))
    if not variable:
        return _constant(average or typical or base or Fraction(25), base), False
    rates = [rate for rate in (base, typical, average) if rate and rate <= max(COMMON_RATES)]
    return _snap(rates[0] if rates else Fraction(60)), True


def _constant(average: Fraction, base: Fraction | None) -> Fraction:
    """A last sample that lasts longer, as in fragmented files, spoils the average of a short clip; not its ticks."""
    rate = _snap(average)
    return rate if rate in COMMON_RATES or base is None or _apart(rate, base) else _snap(base)


def _apart(one: Fraction, other: Fraction | None) -> bool:
    return other is None or abs(one - other) > one * VARIABLE_TOLERANCE


def _gaps(times: Sequence[float]) -> list[float]:
    """Gaps between frames in display order, sorted. The last frames are left out: their successors in coding order,
    which may be shown before them, were not read.
    """
    ordered = sorted(times)[: -4 or None] if len(times) > 8 else sorted(times)  # a reorder depth, twice
    return sorted(b - a for a, b in pairwise(ordered) if b > a)


def _uneven(gaps: Sequence[float]) -> bool:
    """Whether more than one gap in twenty is off: a single dropped frame makes no variable rate."""
    if len(gaps) < 2:  # one gap has nothing to differ from
        return False
    median = gaps[len(gaps) // 2]
    allowed = max(TICK, median / 10)
    off = sum(abs(gap - median) > allowed for gap in gaps)
    return off * 20 > len(gaps)


def _snap(rate: Fraction) -> Fraction:
    """The common rate that `rate` means, or itself in small numbers."""
    nearest = min(COMMON_RATES, key=lambda common: abs(common - rate))
    return nearest if abs(nearest - rate) <= nearest * RATE_TOLERANCE else rate.limit_denominator(1001)


def _ratio(text: object, separator: str) -> Fraction | None:
    """`num:den` or `num/den`; None when absent, malformed, zero or infinite."""
    upper, _, lower = str(text or "").partition(separator)
    if not (upper.isdigit() and lower.isdigit()) or int(upper) == 0 or int(lower) == 0:
        return None
    return Fraction(int(upper), int(lower))
