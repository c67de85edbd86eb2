"""When the tracks of an MPEG-TS segment begin and end, to be compared with what its playlist says. Pure; in seconds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise

from handlers.transcode.check.playlist import Media
from handlers.transcode.check.segment import CLOCK, PACKET, SYNC, pts_of, unpack

TOLERANCE = 0.5
"""Packagers put some tenths of a second of sound into one packet, which goes whole into one segment."""
WRAP = (1 << 33) / CLOCK
"""Presentation times begin anew after 26.5 hours."""
_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350)
_FRAME = 1024
"""Samples in one frame of AAC-LC."""


class Kind(StrEnum):
    PICTURE = "picture"
    SOUND = "sound"


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a track lasts in what was read of a segment."""

    begin: float
    end: float


type Spans = Mapping[Kind, Span]


@dataclass(frozen=True, slots=True)
class Drift:
    """A track that is elsewhere than its playlist says: in which segment, and by how much. Positive is late."""

    segment: int
    kind: Kind
    what: str
    by: float

    def __str__(self) -> str:
        way = "after" if self.by > 0 else "before"
        return f"its {self.kind} {self.what} {abs(self.by):.2f} s {way} what the playlist says"


def spans(data: bytes) -> Spans:
    """Of the first picture and the first sound track. Without any that is known (another container), empty."""
    packets: dict[Kind, list[tuple[float, bytes]]] = {}
    for kind, payload in _packets(data):
        packets.setdefault(kind, []).append((pts_of(payload), payload))
    return {kind: _span(kind, found) for kind, found in packets.items()}


def drifts(media: Media, seen: Mapping[int, Spans], last: Spans) -> Iterator[Drift]:
    """The first drift of each track: its beginnings by segment in `seen`, its end in `last`, the last segment's all.

    Nothing is said of a presentation whose clock begins anew somewhere.
    """
    first = seen.get(0)
    if not first or any(segment.discontinuity for segment in media.segments):
        return
    base = min(span.begin for span in first.values())
    listed = [*accumulate((segment.duration for segment in media.segments), initial=0.0)]
    for kind in sorted(first):
        begun = [(number, found[kind].begin, "begins") for number, found in sorted(seen.items()) if kind in found]
        ended = [(len(listed) - 1, last[kind].end, "ends")] if kind in last else []
        yield from _drifts_of(kind, [*begun, *ended], listed, base)


def _drifts_of(
    kind: Kind, times: Sequence[tuple[int, float, str]], listed: Sequence[float], base: float
) -> Iterator[Drift]:
    for number, time, what in times:
        by = (time - base - listed[number] + WRAP / 2) % WRAP - WRAP / 2
        if abs(by) > TOLERANCE:
            yield Drift(min(number, len(listed) - 2), kind, what, by)
            return


def _packets(data: bytes) -> Iterator[tuple[Kind, bytes]]:
    """The PES packets of the first track of each kind that have a time, as far as `data` goes."""
    tracks: dict[int, Kind] = {}
    parts: dict[int, list[bytes]] = {}
    for at in range(0, len(data) - PACKET + 1, PACKET):
        if data[at] != SYNC:
            return
        pid, starts, payload = unpack(data[at : at + PACKET])
        if starts and payload[:3] == b"\0\0\1" and (kind := _kind(payload)) and kind not in _others(tracks, pid):
            tracks[pid] = kind
            yield from _whole(kind, parts.get(pid))
            parts[pid] = []
        if pid in parts:
            parts[pid].append(payload)
    for pid, rest in parts.items():
        yield from _whole(tracks[pid], rest)


def _others(tracks: Mapping[int, Kind], pid: int) -> set[Kind]:
    return {kind for other, kind in tracks.items() if other != pid}


def _whole(kind: Kind, parts: list[bytes] | None) -> Iterator[tuple[Kind, bytes]]:
    payload = b"".join(parts or ())
    if len(payload) >= 14 and payload[7] & 0x80:  # noqa: PLR2004 - a PES header with a time (ISO/IEC 13818-1, 2.4.3.7)
        yield kind, payload


def _kind(payload: bytes) -> Kind | None:
    identity = payload[3] if len(payload) > 3 else 0  # noqa: PLR2004 - stream ids: 0xE0 on pictures, 0xC0 on sound
    if identity & 0xF0 == 0xE0:  # noqa: PLR2004 - as above
        return Kind.PICTURE
    return Kind.SOUND if identity & 0xE0 == 0xC0 else None  # noqa: PLR2004 - as above


def _span(kind: Kind, packets: Sequence[tuple[float, bytes]]) -> Span:
    """A picture lasts as long as the one before it, a packet of sound as long as its frames."""
    times = sorted(time for time, _ in packets)
    if kind is Kind.SOUND:
        time, payload = packets[-1]
        return Span(times[0], time + _aac_seconds(payload[9 + payload[8] :]))
    gap = min((b - a for a, b in pairwise(times) if b > a), default=0.0)
    return Span(times[0], times[-1] + gap)


def _aac_seconds(stream: bytes) -> float:
    """How long the ADTS frames last that begin a stream (ISO/IEC 13818-7, 6.2); 0 for other codings."""
    at, lasts = 0, 0.0
    while len(stream) - at >= 7 and stream[at] == 0xFF and stream[at + 1] & 0xF6 == 0xF0:  # noqa: PLR2004 - syncword
        rate = stream[at + 2] >> 2 & 0x0F
        length = (stream[at + 3] & 3) << 11 | stream[at + 4] << 3 | stream[at + 5] >> 5
        if rate >= len(_RATES) or length < 7:  # noqa: PLR2004 - the header alone
            break
        lasts += _FRAME / _RATES[rate]
        at += length
    return lasts
