"""Which sound tracks a source has, and which of them are heard. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.transcode.probing.allowed_formats import AUDIO_DECODERS
from handlers.transcode.probing.duration import begins
from handlers.transcode.probing.languages import tag_of

MAX_ALTERNATE_AUDIO = 7
"""Languages beside the first. Each costs an encoder; more than eight in all are no lecture but an attack."""


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """One sound track. `number` counts the sound tracks from 1, the way MediaConvert does."""

    index: int
    number: int
    codec: str
    channels: int
    layout: str
    sample_rate: int
    language: str | None
    default: bool
    begins: float = 0.0
    """Seconds after the first of all tracks."""

    @property
    def readable(self) -> bool:
        """By both engines: what MediaConvert does not read, ours leaves out too."""
        return self.codec in AUDIO_DECODERS

    @property
    def coding(self) -> str:
        """The codec in words: what has none that ffprobe knows is called `unknown` by it."""
        return "something unknown" if self.codec in {"", "unknown", "none"} else self.codec


def read_audio(streams: Sequence[Mapping[str, Any]]) -> tuple[AudioTrack, ...]:
    sounds = [stream for stream in streams if stream.get("codec_type") == "audio"]
    return tuple(
        AudioTrack(
            index=int(stream["index"]),
            number=number,
            codec=str(stream.get("codec_name", "")),
            channels=int(stream.get("channels", 0)),
            layout=str(stream.get("channel_layout", "")),
            sample_rate=int(stream.get("sample_rate", 0)),
            language=language_of(stream),
            default=bool(stream.get("disposition", {}).get("default")),
            begins=begins(stream, streams),
        )
        for number, stream in enumerate(sounds, 1)
    )


def language_of(stream: Mapping[str, Any]) -> str | None:
    """As the container says it; None where it says nothing."""
    language = str(stream.get("tags", {}).get("language", ""))
    return None if language in {"", "und"} else language


def plan_audio(tracks: Sequence[AudioTrack]) -> AudioTrack | None:
    """The track that is heard with the picture: the default one, else the first.

    Where that cannot be read, another one is: of its language, if there is one. What is returned is unreadable only
    where all are. One without channels is silent, unless it just cannot be read.
    """
    sounding = [track for track in tracks if track.channels > 0 or not track.readable]
    wanted = next((track for track in sounding if track.default), sounding[0] if sounding else None)
    if wanted is None or wanted.readable:
        return wanted
    readable = [track for track in sounding if track.readable]
    alike = [track for track in readable if track.language == wanted.language]
    return next(iter([*alike, *readable]), wanted)


def select_audio(tracks: Sequence[AudioTrack]) -> tuple[AudioTrack, ...]:
    """The chosen track, then the first of every other language. One without a language is another mix, and left out."""
    chosen = plan_audio(tracks)
    if chosen is None or not chosen.readable:
        return ()
    spoken = tag_of(chosen.language)
    found: dict[str, AudioTrack] = {}
    for track in tracks:
        tag = tag_of(track.language) if track.readable and track.channels > 0 else None
        if spoken and tag and tag != spoken:
            found.setdefault(tag, track)
    return (chosen, *[*found.values()][:MAX_ALTERNATE_AUDIO])
