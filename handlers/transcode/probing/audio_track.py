"""A source's audio tracks, and the choice of those that are kept. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.transcode.probing.allowed_formats import AUDIO_DECODERS, SERVICE_AUDIO
from handlers.transcode.probing.duration import start_offset
from handlers.transcode.probing.languages import language_tag

MAX_ALTERNATE_AUDIO = 7
"""Languages kept besides the main one. Each costs an encoder, and no lecture has more than eight."""
_LAYOUTS = {
    "2.1": "FL+FR+LFE",
    "3.0": "FL+FR+FC",
    "3.0(back)": "FL+FR+BC",
    "3.1": "FL+FR+FC+LFE",
    "4.0": "FL+FR+FC+BC",
    "4.1": "FL+FR+FC+LFE+BC",
    "quad": "FL+FR+BL+BR",
    "quad(side)": "FL+FR+SL+SR",
    "5.0": "FL+FR+FC+BL+BR",
    "5.0(side)": "FL+FR+FC+SL+SR",
    "5.1": "FL+FR+FC+LFE+BL+BR",
    "5.1(side)": "FL+FR+FC+LFE+SL+SR",
    "6.0": "FL+FR+FC+BC+SL+SR",
    "6.0(front)": "FL+FR+FLC+FRC+SL+SR",
    "hexagonal": "FL+FR+FC+BL+BR+BC",
    "6.1": "FL+FR+FC+LFE+BC+SL+SR",
    "6.1(back)": "FL+FR+FC+LFE+BL+BR+BC",
    "6.1(front)": "FL+FR+LFE+FLC+FRC+SL+SR",
    "7.0": "FL+FR+FC+BL+BR+SL+SR",
    "7.0(front)": "FL+FR+FC+FLC+FRC+SL+SR",
    "7.1": "FL+FR+FC+LFE+BL+BR+SL+SR",
    "7.1(wide)": "FL+FR+FC+LFE+BL+BR+FLC+FRC",
    "7.1(wide-side)": "FL+FR+FC+LFE+FLC+FRC+SL+SR",
    "octagonal": "FL+FR+FC+BL+BR+BC+SL+SR",
}
"""ffmpeg's names of layouts, and their channels in the order of the file."""


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """One audio track. `number` counts the audio tracks from 1, as MediaConvert does."""

    index: int
    number: int
    codec: str
    channels: int
    layout: str
    sample_rate: int
    language: str | None
    default: bool
    begins: float = 0.0
    """Seconds after the first track of the file."""
    silent: bool = False
    """Whether nothing was heard in it, while another track is to be heard."""
    heard: tuple[int, ...] = ()
    """The channels, from 0, in which something was heard. Measured only where the layout is unknown."""

    @property
    def readable(self) -> bool:
        """Whether it is decoded. Without one such track the file is refused."""
        return self.codec in AUDIO_DECODERS

    @property
    def readable_by_service(self) -> bool:
        """Whether MediaConvert decodes it too."""
        return self.codec in SERVICE_AUDIO

    @property
    def codec_label(self) -> str:
        """The codec for error messages and notes. ffprobe calls a codec `unknown` that it does not know."""
        return "something unknown" if self.codec in {"", "unknown", "none"} else self.codec


def read_audio(streams: Sequence[Mapping[str, Any]]) -> tuple[AudioTrack, ...]:
    """Return all audio tracks in the order of the file, whether or not they can be decoded."""
    audio = [stream for stream in streams if stream.get("codec_type") == "audio"]
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
            begins=start_offset(stream, streams),
        )
        for number, stream in enumerate(audio, 1)
    )


def language_of(stream: Mapping[str, Any]) -> str | None:
    """Return the language as the container spells it; None when it names none."""
    language = str(stream.get("tags", {}).get("language", ""))
    return None if language in {"", "und"} else language


def choose_main_audio(tracks: Sequence[AudioTrack]) -> AudioTrack | None:
    """Return the track that plays with the picture: the default one, else the first.

    Take another when that one is silent or cannot be decoded, of the same language if possible. The result is
    unreadable only when all tracks are.
    """
    # ffprobe also reports no channels for a codec that it cannot read: such a track need not be silent.
    audible = [track for track in tracks if track.channels > 0 or not track.readable]
    wanted = next((track for track in audible if track.default), audible[0] if audible else None)
    if wanted is None or (wanted.readable_by_service and not wanted.silent):
        return wanted
    # A recorder's second copy, which MediaConvert reads, is as good. Silence is kept only when there is nothing else.
    order = sorted(
        (track for track in audible if track.readable),
        key=lambda track: (track.silent, track.language != wanted.language, not track.readable_by_service),
    )
    return next(iter(order), wanted)


def select_audio(tracks: Sequence[AudioTrack]) -> tuple[AudioTrack, ...]:
    """Return the main track, then the first track of each other language.

    A track without a language is taken for another mix of the same recording, and is left out. So is a silent one, and
    one that MediaConvert does not read beside a main track that it does.
    """
    main = choose_main_audio(tracks)
    if main is None or not main.readable:
        return ()
    main_language = language_tag(main.language)
    alternates: dict[str, AudioTrack] = {}
    for track in tracks:
        is_kept = track.readable_by_service or (track.readable and not main.readable_by_service)
        tag = language_tag(track.language) if is_kept and track.channels > 0 and not track.silent else None
        if main_language and tag and tag != main_language:
            alternates.setdefault(tag, track)
    return (main, *[*alternates.values()][:MAX_ALTERNATE_AUDIO])


def channels_of(layout: str) -> tuple[str, ...]:
    """Return the channels of a layout of several; nothing for one that is unknown."""
    # Without a name, ffprobe lists the channels: "4 channels (FL+FR+LFE+BC)".
    listed = _LAYOUTS.get(layout) or layout.partition("(")[2].rstrip(")")
    names = tuple(listed.split("+"))
    return names if len(names) > 1 else ()
