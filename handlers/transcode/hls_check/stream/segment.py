"""Looks into an MPEG-TS segment: its pictures and its sound, what they are, and when they are presented. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from handlers.transcode.hls_check.stream.packets import (
    PACKET,
    Coding,
    Pes,
    Stream,
    StreamKind,
    Track,
    demux,
    payload,
    time_of,
)
from handlers.transcode.hls_check.stream.parameters import Parameters, avc, hevc, slice_type

_AVC_SLICE = re.compile(rb"\x00\x00\x01[\x01-\x05\x21-\x25\x41-\x45\x61-\x65]", re.DOTALL)
_HEVC_SLICE = re.compile(rb"\x00\x00\x01[\x00-\x3f]", re.DOTALL)
_IDR = 5
_AVC_SPS = 7
_HEVC_SPS = 33
_HEVC_KEYS = range(16, 22)
"""BLA, IDR and CRA: a decoder may begin with any of them."""
_INTRA = {2, 4, 7, 9}
_SLICE_HEAD = 16
_LARGEST_HEAD = 64 * 1024
"""Bytes before a picture's first slice that are gone through: parameters, captions, an encoder's options."""
_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350)
_FRAME = 1024
"""Samples in one frame of AAC-LC."""


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a track lasts in what was read of a segment."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class VideoContents:
    """`time` in seconds; `key`: nothing after it needs what came before (an IDR); `begin` to `end` are bytes."""

    time: float
    key: bool
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How pictures follow each other: so many, and the seconds between two of them."""

    count: int
    shortest: float
    median: float
    longest: float


@dataclass(frozen=True, slots=True)
class FirstPicture:
    """`pts` is seconds; `idr` whether the first access unit can be decoded without what came before.

    `codec` is its name by RFC 6381, when its parameters stand there.
    """

    pts: float
    idr: bool
    codec: str | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a segment holds, or its beginning, where it was not read `whole`.

    `picture` and `sound` are codings, None without such a track; `intra` are the pictures that need no other, in the
    order of decoding. `hole` is the longest time between two packets of sound that no sound fills, in seconds, and when
    it begins.
    """

    whole: bool
    damage: str
    unknown: bool
    picture: Coding | None
    sound: Coding | None
    parameters: Parameters | None
    first: FirstPicture | None
    intra: tuple[VideoContents, ...]
    rhythm: Rhythm | None
    spans: dict[StreamKind, Span]
    hole: tuple[float, float]

    @property
    def judged(self) -> bool:
        """Whether its pictures are of a coding whose key frames are known."""
        return self.picture in {Coding.AVC, Coding.HEVC}


def contents(data: bytes, *, whole: bool = True) -> Contents:
    """Of a segment, or (not `whole`) of its first bytes."""
    stream = demux(data, whole=whole)
    picture, sound = stream.first(StreamKind.PICTURE), stream.first(StreamKind.SOUND)
    seen = _pictures(data, stream, picture) if picture else _Pictures()
    sounds = [*_sounds(data, stream, sound)] if sound else []
    spans: dict[StreamKind, Span] = {}
    if seen.times:
        spans[StreamKind.PICTURE] = Span(
            min(seen.times), max(seen.times) + (seen.rhythm.shortest if seen.rhythm else 0.0)
        )
    if sounds:
        spans[StreamKind.SOUND] = Span(min(one.begin for one in sounds), sounds[-1].end)
    return Contents(
        whole,
        stream.damage,
        stream.unknown,
        picture.coding if picture else None,
        sound.coding if sound and sounds else None,
        seen.parameters,
        seen.first,
        tuple(seen.intra),
        seen.rhythm,
        spans,
        _hole(sounds) if sound and sound.coding is Coding.AAC else (0.0, 0.0),
    )


def first_picture(data: bytes) -> FirstPicture | None:
    """The first picture of a transport stream, or None when there is none (sound only, or no TS at all)."""
    return contents(data, whole=False).first


@dataclass(slots=True)
class _Pictures:
    times: list[float] = field(default_factory=list)
    intra: list[VideoContents] = field(default_factory=list)
    first: FirstPicture | None = None
    parameters: Parameters | None = None

    @property
    def rhythm(self) -> Rhythm | None:
        gaps = sorted(b - a for a, b in pairwise(sorted(self.times)) if b > a)
        return Rhythm(len(self.times), gaps[0], gaps[len(gaps) // 2], gaps[-1]) if gaps else None


def _pictures(data: bytes, stream: Stream, track: Track) -> _Pictures:
    seen = _Pictures()
    for packet in stream.of(track):
        head = _up_to_slice(data, packet, track.coding)
        time = time_of(head)
        if time is None:
            continue
        units = _units(head[9 + head[8] :])
        seen.parameters = seen.parameters or _parameters(units, track.coding)
        key = _is_key(units, track.coding)
        if key or (track.coding is Coding.AVC and _is_intra(units)):
            seen.intra.append(VideoContents(time, key, packet.begin * PACKET, packet.end * PACKET))
        if not seen.times:
            seen.first = FirstPicture(time, key, seen.parameters.codec if seen.parameters else None)
        seen.times.append(time)
    return seen


def _up_to_slice(data: bytes, packet: Pes, coding: Coding) -> bytes:
    """A PES packet's beginning, as far as the first slice's own."""
    slices = _HEVC_SLICE if coding is Coding.HEVC else _AVC_SLICE
    head, looked = b"", 9
    for part in payload(data, packet):
        head += part
        found = slices.search(head, looked)
        if found and len(head) >= found.end() + _SLICE_HEAD:
            return head[: found.end() + _SLICE_HEAD]
        if len(head) > _LARGEST_HEAD:
            break
        looked = found.start() if found else max(9, len(head) - 3)
    return head


def _units(stream: bytes) -> list[bytes]:
    """The NAL units of a byte stream."""
    return [unit for unit in stream.split(b"\0\0\1")[1:] if unit]


def _parameters(units: list[bytes], coding: Coding) -> Parameters | None:
    """What cannot be read is as if it were not there: the checks say so."""
    try:
        if coding is Coding.HEVC:
            return next((hevc(unit) for unit in units if unit[0] >> 1 & 0x3F == _HEVC_SPS), None)
        return next((avc(unit) for unit in units if unit[0] & 0x1F == _AVC_SPS), None)
    except ValueError:
        return None


def _is_key(units: list[bytes], coding: Coding) -> bool:
    if coding is Coding.HEVC:
        return any(unit[0] >> 1 & 0x3F in _HEVC_KEYS for unit in units)
    return any(unit[0] & 0x1F == _IDR for unit in units)


def _is_intra(units: list[bytes]) -> bool:
    try:
        return any(unit[0] & 0x1F == 1 and slice_type(unit) in _INTRA for unit in units)
    except ValueError:
        return False


def _sounds(data: bytes, stream: Stream, track: Track) -> Iterator[Span]:
    """Each packet of sound, as long as its frames last."""
    for packet in stream.of(track):
        body = b"".join(payload(data, packet))
        time = time_of(body)
        if time is not None:
            yield Span(time, time + _aac_seconds(body[9 + body[8] :]))


def _hole(sounds: list[Span]) -> tuple[float, float]:
    """The longest, and when it begins."""
    return max(((after.begin - one.end, one.end) for one, after in pairwise(sounds)), default=(0.0, 0.0))


def _aac_seconds(stream: bytes) -> float:
    """How long the ADTS frames last that begin a stream (ISO/IEC 13818-7, 6.2); 0 for other codings."""
    at, lasts = 0, 0.0
    while len(stream) - at >= 7 and stream[at] == 0xFF and stream[at + 1] & 0xF6 == 0xF0:  # syncword
        rate = stream[at + 2] >> 2 & 0x0F
        length = (stream[at + 3] & 3) << 11 | stream[at + 4] << 3 | stream[at + 5] >> 5
        if rate >= len(_RATES) or length < 7:  # the header alone
            break
        lasts += _FRAME / _RATES[rate]
        at += length
    return lasts
