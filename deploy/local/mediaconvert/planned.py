"""The exact outputs of one source, with sizes, rates and names. Data only."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True, slots=True)
class Picture:
    """The size of an output. `fit` says how the source fills it: exactly, or with bars around it."""

    width: int
    height: int
    fit: Literal["exact", "bars"]


@dataclass(frozen=True, slots=True)
class Padding:
    """Black pictures: `before` seconds of them in front, and more at the end, so that the output lasts `until`."""

    before: float
    until: float
    rate: Fraction
    """Pictures per second, where the output has no constant rate of its own."""


@dataclass(frozen=True, slots=True)
class Video:
    """H.264. `rate` is frames per second, `gop` seconds, `bitrate` bits per second: a peak when `crf` is set.

    `b_frames` are the most between two others; None leaves it to the encoder.
    """

    picture: Picture
    rate: Fraction
    gop: float
    b_frames: int | None
    profile: str
    crf: int | None
    bitrate: int
    deinterlace: bool
    tone_map: bool
    padding: Padding | None


@dataclass(frozen=True, slots=True)
class Capture:
    """JPEG stills at `rate` per second, at most `count`; `quality` 1 to 100."""

    picture: Picture
    rate: Fraction
    count: int
    quality: int
    deinterlace: bool
    tone_map: bool
    padding: Padding | None


@dataclass(frozen=True, slots=True)
class Audio:
    """AAC of the source's track number `track`, counted from 0. Bits and samples per second."""

    track: int
    bitrate: int
    sample_rate: int
    channels: int
    gains: tuple[tuple[float, ...], ...] = ()
    """Gains in dB: a row for each channel, with a value for each of the source's. Empty: the encoder's own mix."""
    lasts: float = 0.0
    """Seconds that the sound is padded or cut to; 0 keeps its own length."""


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """One output. `local` is its name in the working directory, `name` its key without extension."""

    local: str
    name: str
    extension: str
    video: Video | Capture | None
    audio: Audio | None
    segment_length: float | None = None
    iframes: bool = False


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One output group; `name` is the key of its master playlist without extension."""

    kind: Literal["HLS_GROUP", "FILE_GROUP"]
    bucket: str
    name: str
    outputs: tuple[OutputPlan, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All outputs of one source, and warnings about omitted ones."""

    groups: tuple[GroupPlan, ...]
    turn: int
    """Degrees clockwise in addition to ffmpeg's own rotation. That stays on: without it, 5.1 would keep the matrix."""
    warnings: tuple[str, ...]
    colors: str = ""
    """The colors of the picture by ffmpeg's name, where the job says them; "" to follow the source."""

    @property
    def outputs(self) -> tuple[OutputPlan, ...]:
        return tuple(output for group in self.groups for output in group.outputs)

    @property
    def tone_map(self) -> bool:
        return any(output.video is not None and output.video.tone_map for output in self.outputs)
