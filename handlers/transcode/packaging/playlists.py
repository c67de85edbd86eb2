"""Writes playlists: of a variant, of its I-frames, and the master with the measured rates. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

AAC_LC = "mp4a.40.2"
I_FRAMES = "_I-Frame"
"""Ending of an I-frame playlist's name, before the suffix, as MediaConvert writes it."""


@dataclass(frozen=True, slots=True)
class PlaylistEntry:
    """One segment, or one I-frame in it. Seconds and bytes."""

    uri: str
    duration: float
    size: int = 0
    offset: int = 0
    header: int = 0
    """Bytes of the tables before a segment's first frame, which a decoder needs ahead of any of its I-frames."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Bits per second: the peak, and the average over the whole."""

    peak: int
    average: int

    @property
    def declared(self) -> int:
        """The value of BANDWIDTH."""
        return max(self.peak, self.average)


@dataclass(frozen=True, slots=True)
class MasterEntry:
    """One variant as the master lists it. Audio alone has no resolution, no frame rate, and no I-frames."""

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
    """One language as the master lists it. Without `uri` it is the main audio inside the variants, the default."""

    group: str
    name: str
    language: str
    channels: int
    uri: str = ""


def media_playlist(entries: Sequence[PlaylistEntry]) -> str:
    """Write the playlist of one variant."""
    lines = _head(6, entries)
    for entry in entries:
        lines += [f"#EXTINF:{entry.duration:.6f},", entry.uri]
    return _text([*lines, "#EXT-X-ENDLIST"])


def i_frame_playlist(entries: Sequence[PlaylistEntry]) -> str:
    """Write every IDR picture as a byte range of its segment. A map names the tables before it."""
    lines = [*_head(6, entries), "#EXT-X-I-FRAMES-ONLY"]
    mapped = ""
    for entry in entries:
        if entry.uri != mapped:
            lines.append(f'#EXT-X-MAP:URI="{entry.uri}",BYTERANGE="{entry.header}@0"')
            mapped = entry.uri
        lines += [f"#EXTINF:{entry.duration:.6f},", f"#EXT-X-BYTERANGE:{entry.size}@{entry.offset}", entry.uri]
    return _text([*lines, "#EXT-X-ENDLIST"])


def master_playlist(entries: Sequence[MasterEntry], audio: Sequence[AudioEntry] = ()) -> str:
    """Write the master playlist in the order given. Players begin with the first variant."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for one in audio:
        attributes = ["TYPE=AUDIO", f'GROUP-ID="{one.group}"', f'NAME="{one.name}"', f'LANGUAGE="{one.language}"']
        attributes += [f"DEFAULT={'NO' if one.uri else 'YES'}", "AUTOSELECT=YES", f'CHANNELS="{one.channels}"']
        attributes += [f'URI="{one.uri}"'] if one.uri else []
        lines.append(f"#EXT-X-MEDIA:{','.join(attributes)}")
    for entry in entries:
        attributes = [*_rates(entry.rates), f'CODECS="{",".join(entry.codecs)}"']
        if entry.resolution:
            attributes += [f"RESOLUTION={entry.resolution}"]
        if entry.frame_rate:
            attributes += [f"FRAME-RATE={entry.frame_rate:.3f}", "VIDEO-RANGE=SDR", "CLOSED-CAPTIONS=NONE"]
        if entry.audio_group:
            attributes += [f'AUDIO="{entry.audio_group}"']
        lines += [f"#EXT-X-STREAM-INF:{','.join(attributes)}", entry.uri]
    for entry in entries:
        if entry.i_frame_rates:
            attributes = [*_rates(entry.i_frame_rates), f'CODECS="{entry.codecs[0]}"', f"RESOLUTION={entry.resolution}"]
            attributes += ["VIDEO-RANGE=SDR", f'URI="{entry.i_frame_uri}"']
            lines.append(f"#EXT-X-I-FRAME-STREAM-INF:{','.join(attributes)}")
    return _text(lines)


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
