"""The plan: everything an engine must know to make an asset's renditions. Frozen, printable, JSON both ways."""

from fractions import Fraction
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

SEGMENT_SECONDS = 6
GOP_SECONDS = 2
"""HLS: an IDR picture every 2 s at the same instants in every rung, so each segment is 3 whole groups of pictures."""


class TrackSpan(BaseModel):
    # A worker of the last release may be told of a job that one of this release planned: it skips what is new.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Rung(TrackSpan):
    """One picture size. `width` and `height` are even pixels; `qvbr` is MediaConvert's quality, 1 to 10."""

    name: str
    width: int = Field(ge=32, le=4096, multiple_of=2)
    height: int = Field(ge=32, le=4096, multiple_of=2)
    qvbr: int = Field(ge=1, le=10)
    max_bitrate: int = Field(ge=1000, description="Bits per second, of the picture alone")


class AudioPlan(TrackSpan):
    """AAC-LC made of the source's sound track `number` (from 1).

    `stream` is its number among all tracks (from 1), where one before it may not count as sound for everybody.
    `language` is a BCP 47 tag, `bitrate` bits per second, `sample_rate` Hz. `late` sound begins after the picture, with
    silence before it; `short` sound ends before it, with silence after it.
    """

    number: int = Field(ge=1)
    stream: int | None = Field(None, ge=1)
    source_channels: int = Field(ge=1)
    source_layout: str
    language: str | None = None
    channels: int = Field(ge=1, le=2)
    bitrate: int
    sample_rate: int = 48_000
    late: bool = False
    short: bool = False

    @property
    def downmix(self) -> bool:
        return self.source_channels > self.channels


class Poster(TrackSpan):
    """JPEGs sized like the largest rung, of which one is kept: of the first frame, and of `candidates` more, one each
    `at` milliseconds; 0 when there is but one frame.

    `preferred` is the number of the first one on which the source's own picture is to be seen.
    """

    at: int = Field(ge=0)
    width: int
    height: int
    candidates: int = Field(1, ge=1, le=20)
    preferred: int = Field(1, ge=1)

    @property
    def captures(self) -> int:
        """How many frames are captured, the first one included."""
        return 1 + self.candidates if self.at else 1

    @property
    def order(self) -> tuple[int, ...]:
        """The numbers of all captures, the best guess first: what fills up a beginning or opens a film comes last."""
        last = min(self.preferred, self.captures - 1)
        return (*range(last, self.captures), *range(last))


class Plan(TrackSpan):
    """What to make of one source. `rungs` rise in size; empty means sound only. `duration_ms` is the source's.

    `sound` goes with every picture; `others` are the same in other languages, which HLS offers beside it.

    All outputs last as long as the source: a `late_picture` is filled up from the beginning, a `short_picture` to the
    end. `black_picture`: so much is missing that it is worth to see black where the other engine repeats a frame.

    The times of all segments follow from `fps` and the constants above alone, so a span of the source that begins at a
    multiple of `SEGMENT_SECONDS` can be made on its own and its segments fit into the whole.
    """

    rungs: tuple[Rung, ...]
    sound: AudioPlan | None
    others: tuple[AudioPlan, ...] = ()
    fps_numerator: int = Field(1, ge=1)
    fps_denominator: int = Field(1, ge=1)
    duration_ms: int = Field(ge=1)
    poster: Poster | None
    container: str
    source_width: int | None = None
    source_height: int | None = None
    rotation: int = 0
    late_picture: bool = False
    short_picture: bool = False
    black_picture: bool = False
    deinterlace: bool = False
    tone_map: bool = False
    notes: tuple[str, ...] = ()

    @property
    def fps(self) -> Fraction:
        return Fraction(self.fps_numerator, self.fps_denominator)

    @property
    def best(self) -> Rung | None:
        """The largest rung: the MP4 and the poster have its size. None for sound only."""
        return self.rungs[-1] if self.rungs else None

    @property
    def renditions(self) -> tuple[str, ...]:
        """The names of the renditions that this plan makes."""
        return ("hls", "mp4", "poster") if self.rungs else ("hls", "m4a")

    def to_json(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Raises pydantic.ValidationError for anything that `to_json` did not write."""
        return cls.model_validate_json(text)

    def __str__(self) -> str:
        sizes = ", ".join(f"{rung.width}x{rung.height}" for rung in self.rungs) or "sound only"
        rate = f" at {float(self.fps):.6g} fps" if self.rungs else ""
        sound = f"AAC {self.sound.channels} ch {self.sound.bitrate // 1000} kbit/s" if self.sound else "silent"
        sound += "".join(f", also in {other.language}" for other in self.others)
        return "; ".join([f"{sizes}{rate}", sound, f"{self.duration_ms / 1000:g} s", *self.notes])
