"""Writes playlists: of a variant, of its I-frames, and the master with what was measured. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

AAC_LC = "mp4a.40.2"
I_FRAMES = "_I-Frame"
"""What an I-frame playlist's name ends in, as MediaConvert writes it."""


@dataclass(frozen=True, slots=True)
class PlaylistEntry:
    """One segment, or one I-frame in it. Seconds and bytes."""

    uri: str
    duration: float
    size: int = 0
    offset: int = 0
    header: int = 0
    """Bytes of the tables before a segment's first frame: what a decoder needs ahead of any of its I-frames."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Bits per second: the peak, and over the whole."""

    peak: int
    average: int

    @property
    def declared(self) -> int:
        """What BANDWIDTH says."""
        return max(self.peak, self.average)


@dataclass(frozen=True, slots=True)
class MasterEntry:
    """One variant as the master lists it. Sound alone has no resolution, no frame rate, and no I-frames."""

    uri: str
    rates: Rates
    codecs: Sequence[str]
    resolution: str = ""
    frame_rate: float | None = None
    i_frame_uri: str = ""
    i_frame_rates: Rates | None = None
    audio_group: str = ""


@dataclass(frozen=True, slots=True)
class AudioEntry:
    """One language as the master lists it. Without `uri` it is the one inside the variants, and the default."""

    group: str
    name: str
    language: str
    channels: int
    uri: str = ""


def media_playlist(entries: Sequence[PlaylistEntry]) -> str:
    lines = _head(6, entries)
    for entry in entries:
        lines += [f"#EXTINF:{entry.duration:.6f},", entry.uri]
    return _text([*lines, "#EXT-X-ENDLIST"])


def i_frame_playlist(entries: Sequence[PlaylistEntry]) -> str:
    """Every IDR picture as a byte range of its segment; a map names the tables before it."""
    lines = [*_head(6, entries), "#EXT-X-I-FRAMES-ONLY"]
    mapped = ""
    for entry in entries:
        if entry.uri != mapped:
            lines.append(f'#EXT-X-MAP:URI="{entry.uri}",BYTERANGE="{entry.header}@0"')
            mapped = entry.uri
        lines += [f"#EXTINF:{entry.duration:.6f},", f"#EXT-X-BYTERANGE:{entry.size}@{entry.offset}", entry.uri]
    return _text([*lines, "#EXT-X-ENDLIST"])


def master_playlist(entries: Sequence[MasterEntry], sounds: Sequence[AudioEntry] = ()) -> str:
    """In the order given: players begin with the first."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines += [f"#EXT-X-MEDIA:{_sound_attributes(sound)}" for sound in sounds]
    for entry in entries:
        lines += [f"#EXT-X-STREAM-INF:{_attributes(entry)}", entry.uri]
    lines += [
        f"#EXT-X-I-FRAME-STREAM-INF:{_i_frame_attributes(entry, entry.i_frame_rates)}"
        for entry in entries
        if entry.i_frame_rates
    ]
    return _text(lines)


def _attributes(entry: MasterEntry) -> str:
    parts = [*_rates(entry.rates), f'CODECS="{",".join(entry.codecs)}"']
    if entry.resolution:
        parts += [f"RESOLUTION={entry.resolution}"]
    if entry.frame_rate:
        parts += [f"FRAME-RATE={entry.frame_rate:.3f}", "VIDEO-RANGE=SDR", "CLOSED-CAPTIONS=NONE"]
    if entry.audio_group:
        parts += [f'AUDIO="{entry.audio_group}"']
    return ",".join(parts)


def _sound_attributes(sound: AudioEntry) -> str:
    parts = ["TYPE=AUDIO", f'GROUP-ID="{sound.group}"', f'NAME="{sound.name}"', f'LANGUAGE="{sound.language}"']
    parts += [f"DEFAULT={'NO' if sound.uri else 'YES'}", "AUTOSELECT=YES"]
    parts += [f'CHANNELS="{sound.channels}"']
    return ",".join([*parts, *([f'URI="{sound.uri}"'] if sound.uri else [])])


def _i_frame_attributes(entry: MasterEntry, rates: Rates) -> str:
    parts = [*_rates(rates), f'CODECS="{entry.codecs[0]}"', f"RESOLUTION={entry.resolution}", "VIDEO-RANGE=SDR"]
    return ",".join([*parts, f'URI="{entry.i_frame_uri}"'])


def _rates(rates: Rates) -> list[str]:
    return [f"BANDWIDTH={rates.declared}", f"AVERAGE-BANDWIDTH={rates.average}"]


def _head(version: int, entries: Sequence[PlaylistEntry]) -> list[str]:
    # RFC 8216, 4.3.3.1: no segment, rounded to the nearest second, may be longer than the target.
    target = max(1, math.floor(max((entry.duration for entry in entries), default=0.0) + 0.5))
    return [
        "#EXTM3U",
        f"#EXT-X-VERSION:{version}",
        f"#EXT-X-TARGETDURATION:{target}",
        "#EXT-X-MEDIA-SEQUENCE:1",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
