"""The input as ffprobe describes it."""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from deploy.local.mediaconvert import child, errors

DEADLINE = 60.0
"""Seconds for one ffprobe."""
MAX_OUTPUT = 4 * 1024 * 1024
"""Characters kept of ffprobe's output. A longer one is cut, so it is no valid JSON."""
MAX_RATE = Fraction(120)
"""Frames per second above which a rate is not believed."""
HDR = frozenset({"smpte2084", "arib-std-b67"})
"""The transfer functions PQ and HLG, in ffprobe's words."""

ESTIMATED = frozenset({"mp3", "aac"})
"""Formats without an index: ffprobe guesses their length, which may be many times too long."""
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,asf,mxf,ogg,wav,mp3,aac,flac,ac3,aiff"
"""Demuxers that may open an input: media containers, none that refers to other files."""
OPEN = ("-protocol_whitelist", "file", "-format_whitelist", FORMATS)
"""Options before every `-i`: a playlist or script in disguise must not make ffmpeg read other files."""


def _rate(value: object) -> Fraction:
    numerator, _, denominator = str(value).partition("/")
    return Fraction(int(numerator), int(denominator or 1)) if int(denominator or 1) else Fraction(0)


def _ratio(value: object) -> Fraction:
    numerator, _, denominator = str(value).partition(":")
    ratio = Fraction(int(numerator), int(denominator)) if int(denominator or 0) else Fraction(1)
    return ratio if ratio > 0 else Fraction(1)


def _seconds(value: object) -> float:
    return 0.0 if value == "N/A" else float(str(value))


class _SideData(BaseModel):
    model_config = ConfigDict(extra="ignore")
    rotation: float = 0


class _Disposition(BaseModel):
    model_config = ConfigDict(extra="ignore")
    attached_pic: int = 0


class Stream(BaseModel):
    """One elementary stream, in ffprobe's words."""

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)
    index: int = 0
    codec_type: str = ""
    codec_name: str = "unknown"
    codec_tag_string: str = ""
    width: int = 0
    height: int = 0
    sample_aspect_ratio: Annotated[Fraction, BeforeValidator(_ratio)] = Fraction(1)
    r_frame_rate: Annotated[Fraction, BeforeValidator(_rate)] = Fraction(0)
    avg_frame_rate: Annotated[Fraction, BeforeValidator(_rate)] = Fraction(0)
    sample_rate: int = 0
    channels: int = 0
    color_transfer: str = ""
    color_space: str = ""
    start_time: Annotated[float, BeforeValidator(_seconds)] = 0.0
    duration: Annotated[float, BeforeValidator(_seconds)] = 0.0
    disposition: _Disposition = _Disposition()
    side_data_list: list[_SideData] = Field(default_factory=list)

    @property
    def turn(self) -> int:
        """The rotation by the display matrix: 0, 90, 180 or 270 degrees clockwise."""
        rotation = next((data.rotation for data in self.side_data_list if data.rotation), 0.0)
        return round(-rotation / 90) * 90 % 360

    @property
    def known(self) -> bool:
        """Whether ffmpeg has a decoder for it."""
        return self.codec_name not in {"unknown", "none"}

    @property
    def end(self) -> float:
        """Seconds until its end, 0 where the container does not say."""
        return self.start_time + self.duration if self.duration else 0.0


class _Format(BaseModel):
    model_config = ConfigDict(extra="ignore")
    start_time: Annotated[float, BeforeValidator(_seconds)] = 0.0
    duration: Annotated[float, BeforeValidator(_seconds)] = 0.0
    format_name: str = ""

    @property
    def end(self) -> float:
        """Seconds until its end, 0 where the header does not say. Matroska counts from its clock's zero."""
        return self.duration and self.duration + (0.0 if "matroska" in self.format_name else self.start_time)


class _ProbeOutput(BaseModel):
    model_config = ConfigDict(extra="ignore")
    streams: list[Stream] = Field(default_factory=list)
    format: _Format = _Format()


@dataclass(frozen=True, slots=True)
class Source:
    """The input. `begins` is seconds of the container's clock; `duration` is seconds, 0 if unknown."""

    video: Stream | None
    audio: tuple[Stream, ...]
    begins: float
    duration: float
    mov: bool
    """Whether the container is of the MOV and MP4 family."""

    @property
    def late(self) -> float:
        """Seconds after which the picture begins."""
        return max(0.0, self.video.start_time - self.begins) if self.video else 0.0

    @property
    def shown(self) -> float:
        """Seconds after which the picture ends; the whole duration where the container does not say."""
        return max(0.0, self.video.end - self.begins) if self.video and self.video.end else self.duration

    @property
    def rate(self) -> Fraction:
        """Frames per second of a constant-rate output that follows the source."""
        if self.video is None:
            return Fraction(0)
        for rate in (self.video.r_frame_rate, self.video.avg_frame_rate):
            if 0 < rate <= MAX_RATE:
                return rate
        return Fraction(30)

    def display_size(self, *, upright: bool) -> tuple[Fraction, Fraction]:
        """Width and height with the sample aspect applied; with `upright` the display matrix, too."""
        if self.video is None:
            return Fraction(0), Fraction(0)
        width, height = self.video.width * self.video.sample_aspect_ratio, Fraction(self.video.height)
        return (height, width) if upright and self.video.turn in {90, 270} else (width, height)


async def probe(ffprobe: str, path: Path, address: str) -> Source:
    """Read the input at `path`; `address` is its name in messages.

    Raises JobFailedError with the code that MediaConvert gives for such a file.
    """
    argv = [ffprobe, "-v", "error", *OPEN, "-show_streams", "-show_format", "-of", "json", "-i", f"file:{path.name}"]
    found = await _run_ffprobe(argv, path.parent, address)
    if not all(stream.duration for stream in found.streams):
        found = await _with_ends(ffprobe, path, address, found)
    video = next((s for s in found.streams if s.codec_type == "video" and not s.disposition.attached_pic), None)
    audio = tuple(s for s in found.streams if s.codec_type == "audio")
    if video is None and not audio:
        raise errors.unopenable(errors.UNREADABLE, address, "No parser found for container")
    ends = [stream.end for stream in (video, *audio) if stream]
    # A header may announce hours, so the tracks' own ends come first.
    end = max(ends) if all(ends) else found.format.end
    if found.format.format_name in ESTIMATED:
        end = 0.0
    begins = found.format.start_time
    return Source(video, audio, begins, max(0.0, end - begins) if end else 0.0, "mp4" in found.format.format_name)


async def _with_ends(ffprobe: str, path: Path, address: str, found: _ProbeOutput) -> _ProbeOutput:
    """Find the ends of tracks in the packets, where the container does not say: Matroska, WebM."""
    ends: dict[int, float] = {}

    def collect(line: str) -> None:
        index, _, rest = line.partition(",")
        time, _, lasts = rest.partition(",")
        if index.isdigit() and time not in {"", "N/A"}:
            end = _seconds(time) + _seconds(lasts.partition(",")[0] or "N/A")
            ends[int(index)] = max(ends.get(int(index), end), end)

    entries = ["-show_entries", "packet=stream_index,pts_time,duration_time", "-of", "csv=p=0"]
    argv = [ffprobe, "-v", "error", *OPEN, *entries, "-i", f"file:{path.name}"]
    try:
        await child.run(argv, cwd=path.parent, deadline=DEADLINE, on_line=collect)
    except child.DeadlineError as error:
        raise errors.JobFailedError(errors.TIMED_OUT, f"{address}: {error}") from None
    streams = [
        one
        if one.duration
        else one.model_copy(update={"duration": max(0.0, ends.get(one.index, 0.0) - one.start_time)})
        for one in found.streams
    ]
    return found.model_copy(update={"streams": streams})


def require_known(stream: Stream) -> None:
    """Refuse a track that cannot be decoded. Raises JobFailedError."""
    if not stream.known:
        kind = stream.codec_type.capitalize()
        raise errors.JobFailedError(
            errors.UNSUPPORTED_CODEC,
            f"{kind} codec [{stream.codec_tag_string or 'unknown'}] is not a supported input {kind.lower()} codec",
        )


async def duration_of(ffprobe: str, path: Path) -> float:
    """Return the seconds of one of our own outputs. Raises JobFailedError when it cannot be read."""
    argv = [ffprobe, "-v", "error", "-show_format", "-of", "json", "-i", f"file:{path.name}"]
    return (await _run_ffprobe(argv, path.parent, path.name)).format.duration


async def _run_ffprobe(argv: list[str], folder: Path, address: str) -> _ProbeOutput:
    lines: list[str] = []
    room = MAX_OUTPUT

    def collect(line: str) -> None:
        nonlocal room
        room -= len(line)
        if room > 0:
            lines.append(line)

    try:
        finished = await child.run(argv, cwd=folder, deadline=DEADLINE, on_line=collect)
    except child.DeadlineError as error:
        raise errors.JobFailedError(errors.TIMED_OUT, str(error)) from None
    if finished.status:
        if "moov atom not found" in finished.stderr:
            raise errors.unopenable(errors.BROKEN_STRUCTURE, address, "no moov box found in file")
        if "error reading header" in finished.stderr or "contradictionary" in finished.stderr:
            raise errors.unopenable(errors.BROKEN_STRUCTURE, address, "invalid container headers")
        raise errors.unopenable(errors.UNREADABLE, address, "No parser found for container")
    try:
        return _ProbeOutput.model_validate(json.loads("\n".join(lines)))
    except (ValidationError, ValueError):
        raise errors.unopenable(errors.UNREADABLE, address, "No parser found for container") from None
