"""What is to be made of one source: exact outputs, with sizes, rates and names. Data only."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True, slots=True)
class Picture:
    """The size of what is made. `fit` says how the source comes into it: exactly, or with bars around it."""

    width: int
    height: int
    fit: Literal["exact", "bars"]


@dataclass(frozen=True, slots=True)
class Padding:
    """Black pictures: `before` seconds of them, and as many as there must be `until` then."""

    before: float
    until: float
    rate: Fraction
    """Pictures per second, where the output has no constant rate of its own."""


@dataclass(frozen=True, slots=True)
class Video:
    """H.264. `rate` is frames per second, `gop` seconds, `bitrate` bits per second: a peak when `crf` is set."""

    picture: Picture
    rate: Fraction
    gop: float
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
    """For each channel the gain of each of the source's, in dB; the encoder's own mix when there are none."""
    lasts: float = 0.0
    """Seconds that the sound is filled up or cut to; 0 when it lasts as long as it does."""


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
    """All that is made of one source, and what had to be left out."""

    groups: tuple[GroupPlan, ...]
    turn: int
    """Degrees clockwise, beyond what ffmpeg turns by itself. It always does: told not to, 5.1 keeps the matrix."""
    warnings: tuple[str, ...]

    @property
    def outputs(self) -> tuple[OutputPlan, ...]:
        return tuple(output for group in self.groups for output in group.outputs)

    @property
    def tone_map(self) -> bool:
        return any(output.video is not None and output.video.tone_map for output in self.outputs)
