"""The plan: everything an engine must know to make an asset's renditions. Frozen, printable, JSON both ways."""

from fractions import Fraction
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from handlers.transcode.planning.downmix import gains

NOTICED_MS = 1000
"""Milliseconds that may be missing at the end without a word."""
SEGMENT_SECONDS = 6
GOP_SECONDS = 2
"""Seconds between IDR pictures, which all rungs have at the same times: each segment is 3 whole groups of pictures."""
SLOW = 12
"""Frames a second, below which none is coded before one that is shown earlier (a B-frame). Of a transport stream with
B-frames players show the first picture two frames late: 80 ms at 25 frames a second, 400 ms at 5."""


class PlanModel(BaseModel):
    """Base of the plan and its parts."""

    # During a deployment a worker of the last release may read a plan of this release: it ignores fields that are new.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True)


class Rung(PlanModel):
    """One picture size. `width` and `height` are even pixels; `qvbr` is MediaConvert's quality, 1 to 10."""

    name: str
    width: int = Field(ge=32, le=4096, multiple_of=2)
    height: int = Field(ge=32, le=4096, multiple_of=2)
    qvbr: int = Field(ge=1, le=10)
    max_bitrate: int = Field(ge=1000, description="Bits per second, of the picture alone")

    @property
    def short(self) -> int:
        """Pixels of the short side."""
        return min(self.width, self.height)


class AudioPlan(PlanModel):
    """AAC-LC made of the source's audio track `number` (from 1).

    `stream` is its number among all tracks (from 1), set only when MediaConvert may not count a track before it as
    audio. `heard` are the channels, from 0, that have something in them, listed only where the layout is unknown.
    `language` is a BCP 47 tag, `bitrate` bits per second, `sample_rate` Hz. `late` audio begins after the picture and
    gets silence before it; `short` audio ends before the picture and gets silence after it.
    """

    number: int = Field(ge=1)
    stream: int | None = Field(None, ge=1)
    source_channels: int = Field(ge=1)
    source_layout: str
    heard: tuple[int, ...] = ()
    language: str | None = None
    channels: int = Field(ge=1, le=2)
    bitrate: int
    sample_rate: int = 48_000
    late: bool = False
    short: bool = False

    @property
    def downmix(self) -> bool:
        return self.source_channels > self.channels

    @property
    def gains(self) -> tuple[tuple[float, ...], ...]:
        """The gains in dB of each source channel for left and right; nothing where nothing is mixed."""
        return gains(self.source_layout, self.source_channels, self.heard) if self.downmix else ()


class Poster(PlanModel):
    """JPEGs of the largest rung's size, of which one is kept.

    The first frame is captured, and `candidates` more, one every `at` milliseconds. `at` is 0 when the first frame is
    the only capture. `preferred` is the number of the first capture that shows the source's own picture.
    """

    at: int = Field(ge=0)
    width: int
    height: int
    candidates: int = Field(1, ge=1, le=20)
    preferred: int = Field(1, ge=1)

    @property
    def captures(self) -> int:
        """How many frames are captured, including the first."""
        return 1 + self.candidates if self.at else 1

    @property
    def order(self) -> tuple[int, ...]:
        """The numbers of all captures, the best guess first. Those before `preferred` come last."""
        first = min(self.preferred, self.captures - 1)
        return (*range(first, self.captures), *range(first))


class Plan(PlanModel):
    """The renditions of one source. `rungs` rise in size; none means audio only. `duration_ms` is the source's.

    `sound` is the main audio, which goes with every picture. `alternate_audio` has the other languages, which HLS
    offers as alternatives.

    All outputs last as long as the source: a `late_picture` is filled up from the beginning, a `short_picture` to the
    end. With `black_picture` so much is missing that MediaConvert fills up with black, where ffmpeg repeats a frame.

    A picture that is `fitted` changes its size in the middle: each part is made as large as fits, with bars around it.
    What is `cut_short` was not written to its end, which `lacking_ms` more were announced for. `largest_gap` is the
    seconds for which a track of a transport stream may be missing before its clock counts as one that restarts; with 0
    ffmpeg decides.

    `local` means that our own ffmpeg makes the renditions, whichever engine is set: MediaConvert does not read the
    source, or it is not known for certain what it makes of it. `rgb` pictures have no matrix of their own. `wide`
    colors reach beyond BT.709, and are converted. A picture that names no colors has the `assumed_color`, by ffmpeg's
    name: the smaller rungs of HD would be taken for BT.601.

    The times of all segments follow from `fps` and the constants above alone. A span of the source that begins at a
    multiple of `SEGMENT_SECONDS` can therefore be made on its own, and its segments fit into the whole.
    """

    rungs: tuple[Rung, ...]
    sound: AudioPlan | None
    # Stored plans, and workers of other releases, spell it "others".
    alternate_audio: tuple[AudioPlan, ...] = Field((), validation_alias="others", serialization_alias="others")
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
    fitted: bool = False
    rgb: bool = False
    wide: bool = False
    assumed_color: str = ""
    cut_short: bool = False
    lacking_ms: int = 0
    largest_gap: float = 0.0
    local: bool = False
    notes: tuple[str, ...] = ()

    @property
    def fps(self) -> Fraction:
        return Fraction(self.fps_numerator, self.fps_denominator)

    @property
    def has_b_frames(self) -> bool:
        return self.fps >= SLOW

    @property
    def best(self) -> Rung | None:
        """The largest rung, whose size the MP4 and the poster have. None for audio only."""
        return self.rungs[-1] if self.rungs else None

    @property
    def audio_tracks(self) -> tuple[AudioPlan, ...]:
        """The main audio, then the other languages."""
        return (self.sound, *self.alternate_audio) if self.sound else ()

    @property
    def renditions(self) -> tuple[str, ...]:
        """The names of this plan's renditions."""
        return ("hls", "mp4", "poster") if self.rungs else ("hls", "m4a")

    def filled(self) -> Self:
        """Return the plan with all tracks filled up to its end, wherever they really end."""
        tracks = [audio.model_copy(update={"short": True}) for audio in self.audio_tracks]
        changes = {"short_picture": True, "sound": tracks[0] if tracks else None, "alternate_audio": tuple(tracks[1:])}
        return self.model_copy(update=changes)

    def to_json(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote. Raises pydantic.ValidationError for anything else."""
        return cls.model_validate_json(text)

    def __str__(self) -> str:
        sizes = ", ".join(f"{rung.width}x{rung.height}" for rung in self.rungs) or "sound only"
        rate = f" at {float(self.fps):.6g} fps" if self.rungs else ""
        sound = f"AAC {self.sound.channels} ch {self.sound.bitrate // 1000} kbit/s" if self.sound else "silent"
        sound += "".join(f", also in {one.language}" for one in self.alternate_audio)
        return "; ".join([f"{sizes}{rate}", sound, f"{self.duration_ms / 1000:g} s", *self.notes])
