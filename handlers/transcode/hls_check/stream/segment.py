"""The contents of an MPEG-TS segment: codings, parameters and presentation times of its pictures and sound. Pure."""

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
"""H.264 slice types that are predicted from no other picture."""
_SLICE_HEAD = 16
"""Bytes of a slice that are read."""
_LARGEST_HEAD = 64 * 1024
"""Bytes that are searched for a picture's first slice: parameters, captions and encoder options come before it."""
_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350)
_FRAME = 1024
"""Samples in one frame of AAC-LC."""


@dataclass(frozen=True, slots=True)
class Span:
    """Begin and end of a track, in seconds, in the bytes that were read of a segment."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class VideoContents:
    """An intra picture: `time` in seconds, `begin` to `end` in bytes.

    `key` tells that no later picture needs an earlier one (an IDR).
    """

    time: float
    key: bool
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The number of pictures and the seconds between two of them."""

    count: int
    shortest: float
    median: float
    longest: float


@dataclass(frozen=True, slots=True)
class FirstPicture:
    """The first picture: `pts` in seconds, and whether it is an `idr`, which needs no earlier data.

    `codec` is its name by RFC 6381, if its parameters come with it.
    """

    pts: float
    idr: bool
    codec: str | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a segment, or of its beginning where it was not read `whole`.

    `picture` and `sound` are codings, None without such a track. `intra` are the pictures that need no other, in the
    order of decoding. `hole` is the longest silence between two packets of sound, in seconds, and its begin.
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
    """Read a segment, or its first bytes where `data` is not `whole`."""
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
    gaps = ((after.begin - one.end, one.end) for one, after in pairwise(sounds))
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
        max(gaps, default=(0.0, 0.0)) if sound and sound.coding is Coding.AAC else (0.0, 0.0),
    )


def first_picture(data: bytes) -> FirstPicture | None:
    """Find the first picture of a transport stream; None for sound alone and for data that is no TS."""
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
        units = [unit for unit in head[9 + head[8] :].split(b"\0\0\1")[1:] if unit]
        seen.parameters = seen.parameters or _parameters(units, track.coding)
        is_avc = track.coding is Coding.AVC
        key = any(unit[0] & 0x1F == _IDR if is_avc else unit[0] >> 1 & 0x3F in _HEVC_KEYS for unit in units)
        if key or (is_avc and _is_intra(units)):
            seen.intra.append(VideoContents(time, key, packet.begin * PACKET, packet.end * PACKET))
        if not seen.times:
            seen.first = FirstPicture(time, key, seen.parameters.codec if seen.parameters else None)
        seen.times.append(time)
    return seen


def _up_to_slice(data: bytes, packet: Pes, coding: Coding) -> bytes:
    """Read a PES packet's beginning, up to the header of its first slice."""
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


def _parameters(units: list[bytes], coding: Coding) -> Parameters | None:
    try:
        if coding is Coding.HEVC:
            return next((hevc(unit) for unit in units if unit[0] >> 1 & 0x3F == _HEVC_SPS), None)
        return next((avc(unit) for unit in units if unit[0] & 0x1F == _AVC_SPS), None)
    except ValueError:
        return None  # the checks report missing parameters


def _is_intra(units: list[bytes]) -> bool:
    try:
        return any(unit[0] & 0x1F == 1 and slice_type(unit) in _INTRA for unit in units)
    except ValueError:
        return False


def _sounds(data: bytes, stream: Stream, track: Track) -> Iterator[Span]:
    """Yield the span of each packet of sound, as long as its frames last."""
    for packet in stream.of(track):
        body = b"".join(payload(data, packet))
        time = time_of(body)
        if time is not None:
            yield Span(time, time + _aac_seconds(body[9 + body[8] :]))


def _aac_seconds(stream: bytes) -> float:
    """Sum up the ADTS frames at the beginning of a stream (ISO/IEC 13818-7, 6.2), in seconds; 0 for other codings."""
    at, lasts = 0, 0.0
    while len(stream) - at >= 7 and stream[at] == 0xFF and stream[at + 1] & 0xF6 == 0xF0:  # syncword
        rate = stream[at + 2] >> 2 & 0x0F
        length = (stream[at + 3] & 3) << 11 | stream[at + 4] << 3 | stream[at + 5] >> 5
        if rate >= len(_RATES) or length < 7:  # the header alone
            break
        lasts += _FRAME / _RATES[rate]
        at += length
    return lasts
