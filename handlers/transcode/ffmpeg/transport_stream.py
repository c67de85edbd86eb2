"""Finds the key frames of an MPEG transport stream (ISO/IEC 13818-1) written by ffmpeg. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

PACKET = 188
SYNC = 0x47
PTS_CLOCK = 90_000
AVC_SPS = 7


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """One key frame: its place in the segment in bytes, and its presentation time in seconds of the stream's clock."""

    offset: int
    size: int
    time: float


@dataclass(frozen=True, slots=True)
class WrittenSegment:
    """The key frames of one segment. `header` is the length in bytes of the tables before the first frame."""

    header: int
    keyframes: tuple[KeyFrame, ...]
    codec: str | None


@dataclass(frozen=True, slots=True)
class _Start:
    """A packet that begins a table or a frame."""

    offset: int
    random_access: bool
    payload: bytes


def inspect(data: bytes) -> WrittenSegment:
    """Read one whole segment. Raises ValueError when it is not a transport stream."""
    starts = list(_starts(data))
    first = next((packet.offset for packet in starts if _is_pes(packet)), 0)
    frames: list[KeyFrame] = []
    codec = None
    for index, packet in enumerate(starts):
        # Stream ids 0xE0 to 0xEF are video.
        if not (packet.random_access and _is_pes(packet) and packet.payload[3] & 0xF0 == 0xE0):
            continue
        # ffmpeg writes a frame's packets in one run: the frame ends where anything else begins.
        end = starts[index + 1].offset if index + 1 < len(starts) else len(data)
        frames.append(KeyFrame(packet.offset, end - packet.offset, _pts(packet.payload)))
        codec = codec or _avc_codec(packet.payload)
    return WrittenSegment(first, tuple(frames), codec)


def _starts(data: bytes) -> Iterator[_Start]:
    if not data or len(data) % PACKET:
        raise ValueError("not a whole number of transport packets")
    view = memoryview(data)
    for offset in range(0, len(data), PACKET):
        if view[offset] != SYNC:
            raise ValueError(f"no sync byte at {offset}")
        head = view[offset : offset + 6]
        if not head[1] & 0x40:
            continue  # the middle of a table or frame
        has_adaptation_field = bool(head[3] & 0x20)
        skip = 4 + (1 + head[4] if has_adaptation_field else 0)
        yield _Start(
            offset=offset,
            random_access=has_adaptation_field and head[4] > 0 and bool(head[5] & 0x40),
            payload=bytes(view[offset + skip : offset + PACKET]),
        )


def _is_pes(packet: _Start) -> bool:
    return packet.payload[:3] == b"\x00\x00\x01"


def _pts(payload: bytes) -> float:
    if not payload[7] & 0x80:
        raise ValueError("a key frame without a time")
    raw = payload[9:14]
    ticks = (raw[0] >> 1 & 7) << 30 | raw[1] << 22 | (raw[2] >> 1) << 15 | raw[3] << 7 | raw[4] >> 1
    return ticks / PTS_CLOCK


def _avc_codec(payload: bytes) -> str | None:
    """Return RFC 6381's codec name from the parameter set of a key frame; None when it is not in the first packet."""
    at = payload.find(b"\x00\x00\x01", 9 + payload[8])
    while 0 <= at < len(payload) - 6:
        if payload[at + 3] & 0x1F == AVC_SPS:
            return f"avc1.{payload[at + 4 : at + 7].hex()}"
        at = payload.find(b"\x00\x00\x01", at + 3)
    return None
