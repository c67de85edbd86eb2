"""A reader of MPEG transport streams (ISO/IEC 13818-1): tracks, positions of PES packets, damage. Pure.

It goes through the packets once and reads their headers alone. `payload` joins the content of a packet on demand.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

PACKET = 188
"""Bytes of a transport packet."""
SYNC = 0x47
CLOCK = 90_000
"""Ticks per second of presentation time stamps."""
_NULL = 0x1FFF
"""The PID of padding."""
_SECTION_HEAD = 3
_PROGRAMS = 4
"""Programs whose maps are read: HLS allows one."""


class StreamKind(StrEnum):
    PICTURE = "picture"
    SOUND = "sound"


class Coding(StrEnum):
    """Codings that the checks tell apart. OTHER stands for known ones that are not looked into."""

    AVC = "avc1"
    HEVC = "hvc1"
    AAC = "mp4a"
    AC3 = "ac-3"
    EAC3 = "ec-3"
    OTHER = ""


_TYPES = {
    0x01: (StreamKind.PICTURE, Coding.OTHER),
    0x02: (StreamKind.PICTURE, Coding.OTHER),
    0x10: (StreamKind.PICTURE, Coding.OTHER),
    0x1B: (StreamKind.PICTURE, Coding.AVC),
    0x24: (StreamKind.PICTURE, Coding.HEVC),
    0x03: (StreamKind.SOUND, Coding.AAC),
    0x04: (StreamKind.SOUND, Coding.AAC),
    0x0F: (StreamKind.SOUND, Coding.AAC),
    0x11: (StreamKind.SOUND, Coding.AAC),
    0x81: (StreamKind.SOUND, Coding.AC3),
    0x87: (StreamKind.SOUND, Coding.EAC3),
}
"""Stream types (ISO/IEC 13818-1, table 2-34, and ATSC A/53). RFC 6381 calls MPEG audio `mp4a` too."""


@dataclass(frozen=True, slots=True)
class Track:
    """One elementary stream."""

    pid: int
    kind: StreamKind
    coding: Coding


@dataclass(frozen=True, slots=True)
class Pes:
    """One PES packet: the numbers of its first transport packet and of the one after its last."""

    pid: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Stream:
    """A transport stream. `damage` is empty or names the first fault; `unknown` tells of a track of unknown coding."""

    tracks: tuple[Track, ...]
    packets: tuple[Pes, ...]
    damage: str
    unknown: bool

    def of(self, track: Track) -> Iterator[Pes]:
        return (packet for packet in self.packets if packet.pid == track.pid)

    def first(self, kind: StreamKind) -> Track | None:
        return next((track for track in self.tracks if track.kind is kind), None)


@dataclass(slots=True)
class _Walk:
    """State of each track during one pass over the packets."""

    began: dict[int, int] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    """The number of the last packet with a payload, shifted by four bits, and its continuity counter in these bits."""
    packets: list[Pes] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def end(self, pid: int) -> None:
        if pid in self.began:
            self.packets.append(Pes(pid, self.began.pop(pid), (self.seen[pid] >> 4) + 1))


def demux(data: bytes, *, whole: bool = True) -> Stream:
    """Read the stream in `data`. Data that is not the `whole` of a segment may end anywhere."""
    sync_bytes = data[::PACKET]
    good = len(sync_bytes) - len(sync_bytes.lstrip(b"G"))
    count = min(good, len(data) // PACKET)
    walk = _walk(data, count)
    for pid in [*walk.began]:
        walk.end(pid)
    damage = ""
    if good * PACKET < len(data):
        damage = f"no transport packet at byte {good * PACKET}"
    elif whole and len(data) % PACKET:
        damage = f"{len(data)} bytes are no whole number of transport packets"
    elif walk.gaps:
        number, pid = walk.gaps[0]
        damage = f"packets of track {pid} are missing before byte {number * PACKET}"
    tracks, unknown = _tracks(data, walk.packets)
    pids = {track.pid for track in tracks}
    return Stream(
        tuple(tracks),
        tuple(sorted((packet for packet in walk.packets if packet.pid in pids), key=lambda packet: packet.begin)),
        damage,
        unknown,
    )


def _walk(data: bytes, count: int) -> _Walk:
    """Go through all packets, four bytes of each. This loop takes most of the time of a check: keep it small."""
    walk = _Walk()
    seen, size = walk.seen, count * PACKET
    for number, (high, low, flags) in enumerate(
        zip(data[1:size:PACKET], data[2:size:PACKET], data[3:size:PACKET], strict=True)
    ):
        if not flags & 0x10:
            continue
        pid = (high & 0x1F) << 8 | low
        last = seen.get(pid)
        # The counter of a repeated packet stands still.
        if last is not None and pid != _NULL and (last + 1 ^ flags) & 0x0F and (last ^ flags) & 0x0F:
            at = number * PACKET
            announced = flags & 0x20 and data[at + 4] and data[at + 5] & 0x80
            if not announced:
                walk.gaps.append((number, pid))
        if high & 0x40:
            walk.end(pid)
            walk.began[pid] = number
        seen[pid] = number << 4 | flags & 0x0F
    return walk


def payload(data: bytes, packet: Pes) -> Iterator[bytes]:
    """Yield the content of each transport packet of a PES packet. The first begins with the PES header."""
    high, low = packet.pid >> 8, packet.pid & 0xFF
    for at in range(packet.begin * PACKET, packet.end * PACKET, PACKET):
        if data[at + 2] == low and data[at + 1] & 0x1F == high and data[at + 3] & 0x10:
            begin = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
            yield data[begin : at + PACKET]


def time_of(head: bytes) -> float | None:
    """Return when a PES packet is presented, in seconds of the stream's clock; None when it does not say so."""
    if len(head) < 14 or not head[7] & 0x80:  # a PES header with a time (2.4.3.7)
        return None
    field_ = head[9:14]
    ticks = (field_[0] >> 1 & 7) << 30 | field_[1] << 22 | (field_[2] >> 1) << 15 | field_[3] << 7 | field_[4] >> 1
    return ticks / CLOCK


def _tracks(data: bytes, packets: list[Pes]) -> tuple[list[Track], bool]:
    """Find the tracks by the tables; without tables by the PES headers, with pictures taken for H.264."""
    association = _section(data, packets, 0)
    rows = [association[at : at + 4] for at in range(5, len(association) - 3, 4)]
    # The PIDs of the programs' maps (2.4.4.3). Program 0 is the network table.
    maps = [(row[2] & 0x1F) << 8 | row[3] for row in rows if row[0] or row[1]][:_PROGRAMS]
    listed = [entry for pid in maps for entry in _entries(_section(data, packets, pid))]
    if listed:
        known = [(pid, *_TYPES[stream_type]) for stream_type, pid in listed if stream_type in _TYPES]
        # Timed metadata (0x15) and SCTE-35 (0x86) are tracks of neither kind.
        unknown = any(stream_type not in {*_TYPES, 0x15, 0x86} for stream_type, _ in listed)
        return [Track(pid, kind, coding) for pid, kind, coding in known], unknown
    found: dict[int, Track] = {}
    for packet in packets:
        if packet.pid not in found and (track := _self_described(data, packet)):
            found[packet.pid] = track
    return [*found.values()], not found


def _self_described(data: bytes, packet: Pes) -> Track | None:
    head = next(payload(data, packet), b"")
    if len(head) < 4 or head[:3] != b"\0\0\1":  # the start code and the stream's id
        return None
    if head[3] & 0xF0 == 0xE0:  # stream ids: 0xE0 on pictures, 0xC0 on sound
        return Track(packet.pid, StreamKind.PICTURE, Coding.AVC)
    return Track(packet.pid, StreamKind.SOUND, Coding.AAC) if head[3] & 0xE0 == 0xC0 else None


def _section(data: bytes, packets: list[Pes], pid: int) -> bytes:
    """Return a table's body, from behind its length on; empty when there is no such table."""
    first = next((packet for packet in packets if packet.pid == pid), None)
    body = b"".join(payload(data, first)) if first else b""
    body = body[1 + body[0] :] if body else b""
    size = ((body[1] & 0x0F) << 8 | body[2]) if len(body) > _SECTION_HEAD else 0
    return body[_SECTION_HEAD : _SECTION_HEAD + max(0, size - 4)]


def _entries(table: bytes) -> Iterator[tuple[int, int]]:
    """Yield stream type and PID of each track of a program's map (2.4.4.8)."""
    if len(table) < 9:  # the fixed fields
        return
    at = 9 + ((table[7] & 0x0F) << 8 | table[8])
    while at + 5 <= len(table):
        yield table[at], (table[at + 1] & 0x1F) << 8 | table[at + 2]
        at += 5 + ((table[at + 3] & 0x0F) << 8 | table[at + 4])
