"""Looks at the beginning of an MPEG-TS segment: when its first picture is shown, and whether that is an IDR. Pure."""

from dataclasses import dataclass

PACKET = 188
SYNC = 0x47
IDR = 5
SPS = 7
CLOCK = 90_000
"""Ticks per second of presentation time stamps."""
_PES_PTS = 0x80


@dataclass(frozen=True, slots=True)
class FirstPicture:
    """`pts` is seconds; `idr` whether the first H.264 access unit can be decoded without what came before.

    `codec` is its name by RFC 6381, when its parameters stand there.
    """

    pts: float
    idr: bool
    codec: str | None = None


def first_picture(data: bytes) -> FirstPicture | None:
    """The first picture of an H.264 transport stream, or None when there is none (sound only, or no TS at all)."""
    payload = _first_video_pes(data)
    if payload is None or len(payload) < 14 or not payload[7] & _PES_PTS:  # noqa: PLR2004 - a PES header with a PTS
        return None
    units = _nal_units(payload[9 + payload[8] :])
    return FirstPicture(pts_of(payload), any(unit[0] & 0x1F == IDR for unit in units), _codec(units))


def _first_video_pes(data: bytes) -> bytes | None:
    """The bytes of the first PES packet of a video stream, as far as `data` goes."""
    wanted: int | None = None
    parts: list[bytes] = []
    for at in range(0, len(data) - PACKET + 1, PACKET):
        packet = data[at : at + PACKET]
        if packet[0] != SYNC:
            return None
        pid, starts, payload = unpack(packet)
        if wanted is None and starts and payload[:3] == b"\0\0\1" and payload[3:4] and payload[3] & 0xF0 == 0xE0:  # noqa: PLR2004 - stream ids 0xE0 to 0xEF are video
            wanted = pid
        elif pid == wanted and starts:
            break
        if pid == wanted:
            parts.append(payload)
    return b"".join(parts) if wanted is not None else None


def unpack(packet: bytes) -> tuple[int, bool, bytes]:
    """PID, whether a PES packet or section begins here, and the payload."""
    pid = (packet[1] & 0x1F) << 8 | packet[2]
    begin = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    return pid, bool(packet[1] & 0x40), packet[begin:] if packet[3] & 0x10 else b""


def pts_of(payload: bytes) -> float:
    """When a PES packet with a time is presented, in seconds of the stream's clock."""
    field = payload[9:14]
    ticks = (field[0] >> 1 & 7) << 30 | field[1] << 22 | (field[2] >> 1) << 15 | field[3] << 7 | field[4] >> 1
    return ticks / CLOCK


def _nal_units(stream: bytes) -> list[bytes]:
    """The NAL units of an H.264 byte stream."""
    return [unit for unit in stream.split(b"\0\0\1")[1:] if unit]


def _codec(units: list[bytes]) -> str | None:
    """Profile, constraints and level: the first bytes of the sequence parameter set."""
    found = next((unit for unit in units if unit[0] & 0x1F == SPS and len(unit) > 3), None)  # noqa: PLR2004 - type, then three bytes
    return f"avc1.{found[1:4].hex()}" if found else None
