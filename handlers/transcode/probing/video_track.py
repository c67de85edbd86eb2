"""Reads picture and subtitle tracks from ffprobe's JSON: display sizes, rates and color. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from handlers.transcode.probing.audio_track import AudioTrack, language_of
from handlers.transcode.probing.duration import start_offset
from handlers.transcode.probing.frame_rate import choose_rate
from handlers.transcode.probing.picture_sizes import PictureSizes

HDR_TRANSFERS = {"smpte2084", "arib-std-b67"}
"""PQ and HLG, as ffprobe names them."""

WIDE_PRIMARIES = {"smpte431", "smpte432"}
"""DCI and Display P3, as ffprobe names them."""

HD_FROM = 720
"""Lines from which a picture that names no colors is BT.709 and not BT.601, as Chromium has it."""

PICTURE_CODECS = {"mjpeg", "png", "bmp"}
"""Codecs of still pictures: one single frame of them is a cover, even if it is not marked as one."""

RGB_FORMATS = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8")
"""Pixel formats without a matrix, by the beginnings of ffprobe's names."""

MAX_SAMPLE_ASPECT = 10
"""Largest ratio of a pixel's width to its height, or the reverse. Beyond it the header is damaged: pixels are taken as
square."""


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
    wide: bool = False
    """Whether its colors reach beyond BT.709, without being HDR."""
    untagged: bool = False
    """Whether nothing names the matrix of its colors."""
    size_varies: bool = False
    """Whether the size changes in the middle. The size is then the largest that lasts."""

    @property
    def assumed_color(self) -> str:
        """The colors that players assume where none are named, by ffmpeg's name; "" where they are."""
        if not self.untagged or self.rgb or self.hdr:
            return ""
        return "bt709" if self.coded_height >= HD_FROM else "smpte170m"

    @property
    def rgb(self) -> bool:
        """Whether the pictures are coded as red, green and blue, or by a palette of these."""
        return self.pixel_format.startswith(RGB_FORMATS)


@dataclass(frozen=True, slots=True)
class SubtitleTrack:
    index: int
    codec: str
    language: str | None


@dataclass(frozen=True, slots=True)
class Probed:
    """A source that was opened, read at both ends and decoded in part. `duration` is seconds, always above 0.

    `ends` are the ends of the tracks in use, by their index, in seconds from the beginning.
    """

    container: str
    duration: float
    video: VideoTrack | None
    audio: tuple[AudioTrack, ...]
    subtitles: tuple[SubtitleTrack, ...]
    ends: Mapping[int, float] = field(default_factory=dict)
    cut_short: bool = False
    """Whether the file was not written to its end. What is there is shown."""
    lacking: float = 0.0
    """Seconds that the header announces and that are not there."""
    damaged: bool = False
    """Whether something in the middle of the file cannot be read."""
    open_end: bool = False
    """Whether nothing tells how long the last picture lasts, and ffmpeg's guess is wrong."""
    pause: float = 0.0
    """Seconds for which a sound track pauses at most."""
    largest_gap: float = 0.0
    """Seconds for which a track of a transport stream is missing at most, while the other goes on."""
    smallest_jump: float = 0.0
    """Seconds by which the clock of a transport stream jumps forward at least; 0 when it does not."""
    restarts: bool = False
    """Whether the clock of a transport stream starts again somewhere."""


def read_video(streams: Sequence[Mapping[str, Any]], times: Sequence[float] = ()) -> VideoTrack | None:
    """Return the first moving picture, whether or not it is the default track. Cover art and thumbnails do not count.

    `times` are the presentation times of all frames, or of the first ones where the index shows a single rate.
    """
    moving = [
        stream
        for stream in streams
        if stream.get("codec_type") == "video"
        and not (_disposition(stream, "attached_pic") or _disposition(stream, "timed_thumbnails"))
        # a single picture that is not marked as a cover
        and not (stream.get("codec_name") in PICTURE_CODECS and stream.get("nb_frames") == "1")
    ]
    if not moving:
        return None
    stream = moving[0]
    rotation = _rotation(stream)
    width, height, anamorphic = _displayed_size(stream, rotation)
    rate, variable = choose_rate(
        _ratio(stream.get("avg_frame_rate"), "/"), _ratio(stream.get("r_frame_rate"), "/"), times
    )
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
        wide=transfer not in HDR_TRANSFERS and stream.get("color_primaries") in WIDE_PRIMARIES,
        untagged=stream.get("color_space", "unknown") == "unknown",
    )


def correct_by_frames(
    video: VideoTrack, frames: Sequence[Mapping[str, Any]], sizes: PictureSizes, begins: float
) -> VideoTrack:
    """Correct what the header says of the picture by what was decoded: lines, begin, the largest size that lasts."""
    interlaced = sum(bool(frame.get("interlaced_frame")) for frame in frames) * 2 > len(frames)
    untagged = video.untagged and all(frame.get("color_space", "unknown") == "unknown" for frame in frames)
    video = replace(video, interlaced=video.interlaced or interlaced, begins=max(0.0, begins), untagged=untagged)
    if not sizes.vary:
        return video
    width, height, anamorphic = _displayed_size(sizes.largest, video.rotation)
    return replace(
        video,
        width=width,
        height=height,
        coded_width=int(sizes.largest.get("width", 0)),
        coded_height=int(sizes.largest.get("height", 0)),
        anamorphic=anamorphic or video.anamorphic,
        size_varies=True,
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


def _disposition(stream: Mapping[str, Any], name: str) -> bool:
    return bool(stream.get("disposition", {}).get(name))


def _displayed_size(stream: Mapping[str, Any], rotation: int) -> tuple[int, int, bool]:
    """Return width and height upright in square pixels, and whether pixels are not square as coded."""
    width, height = int(stream.get("width", 0)), int(stream.get("height", 0))
    aspect = _ratio(stream.get("sample_aspect_ratio"), ":") or Fraction(1)
    if not Fraction(1, MAX_SAMPLE_ASPECT) <= aspect <= MAX_SAMPLE_ASPECT:
        aspect = Fraction(1)
    width = round(width * aspect)
    return (height, width, aspect != 1) if rotation in {90, 270} else (width, height, aspect != 1)


def _rotation(stream: Mapping[str, Any]) -> int:
    """Return degrees clockwise, to the nearest quarter turn."""
    for side in stream.get("side_data_list", ()):
        if "rotation" in side:
            # ffprobe's display matrix counts counterclockwise.
            return round(-float(side["rotation"]) / 90) * 90 % 360
    return 0


def _ratio(text: object, separator: str) -> Fraction | None:
    """Read `num:den` or `num/den`; None when absent, malformed, zero or infinite."""
    upper, _, lower = str(text or "").partition(separator)
    if not (upper.isdigit() and lower.isdigit()) or int(upper) == 0 or int(lower) == 0:
        return None
    return Fraction(int(upper), int(lower))
