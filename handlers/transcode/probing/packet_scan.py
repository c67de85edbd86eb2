"""Reads the times of all packets of a source, as ffprobe lists them: begins, ends, gaps, jumps of the clock. Pure."""

import io
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SCAN_OPTIONS = ("-show_entries", "packet=stream_index,pts,dts,duration,flags", "-of", "csv=p=0")
"""ffprobe's options that list all packets. Nothing is decoded: a disk's or network's speed is the limit."""
SPAN = 600
"""Seconds. At least half of a recording's spans of this length must contain packets: a slide may stay for minutes."""
LONGEST_GAP = 1.0
"""Seconds that a packet counts at most when its duration is estimated."""
LONGER = 1.5
"""Times the gap to the next packet, from which a packet's duration cannot be true."""
JUMP = 10.0
"""Seconds by which the clock of a transport stream must jump forward to count as one that restarts: as in ffmpeg."""
BACKWARD = 0.1
"""Seconds back from which a clock counts as one that restarts. ffmpeg has the same number."""
SIMILAR = 5.0
"""Seconds by which the jumps of two tracks may differ, and still come from one clock."""
RESTARTING_CLOCKS = ("mpeg", "ogg")
"""How ffprobe's names begin of formats whose clock may start again in the middle."""

_DISCARDED = b"D"
"""The mark of a packet that an edit list hides."""


@dataclass(slots=True)
class TrackScan:
    """The packets of one track. Times are seconds from the beginning of the file, with jumps of the clock removed."""

    times: array[float] = field(default_factory=lambda: array("d"))
    """When each packet is shown, in the order of the file."""
    keys: array[float] = field(default_factory=lambda: array("d"))
    """The times of those that need no other, in the order of the file."""
    end: float = 0.0
    pause: float = 0.0
    """The longest time between the end of a packet and the next one."""
    guessed: bool = False
    """Whether the packets' own durations cannot be true. `end` follows from the gap between most of them."""
    before_key: int = 0
    """Packets before the first that needs no other."""

    @property
    def begin(self) -> float:
        return min(self.times)


@dataclass(frozen=True, slots=True)
class PacketScan:
    """All packets of a source, by the index of their track.

    `spans` counts the spans of `SPAN` seconds that contain packets of the tracks in use. `restarts` tells whether the
    clock starts again somewhere, `smallest_jump` by how many seconds it then jumps forward at least. `largest_gap` is
    the seconds for which one track is missing at most, while another one goes on, where a clock might start again.
    """

    tracks: Mapping[int, TrackScan]
    spans: int = 0
    largest_gap: float = 0.0
    smallest_jump: float = 0.0
    restarts: bool = False
    encrypted: bool = False


@dataclass(slots=True)
class _Packets:
    """The packets of one track as read, in seconds of the file's clock."""

    shown: array[float] = field(default_factory=lambda: array("d"))
    decoded: array[float] = field(default_factory=lambda: array("d"))
    lasts: array[float] = field(default_factory=lambda: array("d"))
    keys: bytearray = field(default_factory=bytearray)

    @property
    def typical(self) -> float:
        """The duration of a packet that does not say its own, in seconds: the gap between most of them."""
        return _typical(after - before for before, after in pairwise(sorted(self.shown)))

    def leaps(self) -> list[tuple[int, float]]:
        """List where the clock leaps: the number of the packet, and seconds."""
        steps = enumerate((after - before for before, after in pairwise(self.decoded)), 1)
        return [(number, by) for number, by in steps if by > JUMP or by < -BACKWARD]


def read_scan(
    lines: bytes, ticks: Mapping[int, float], used: Collection[int], *, begin: float, may_restart: bool = False
) -> PacketScan:
    """Read ffprobe's lines. There may be millions, so call it off the event loop's thread.

    `ticks` are the seconds of one tick, by track; `begin` is the container's start. With `may_restart` a leap that all
    tracks in use make is taken for a clock that starts again.
    """
    packets, encrypted = _read_packets(lines, ticks)
    leaps = {track: packets[track].leaps() for track in packets if may_restart}
    # What one track makes alone is a gap.
    first, *others = sorted((leaps[track] for track in leaps if track in used), key=len) or [[]]
    jumps = [by for _, by in first if all(_is_jump(by, [also for _, also in other]) for other in others)]
    scanned = {}
    for track, one in packets.items():
        # By how many seconds the clock is set back, by the number of the packet from which it is.
        found = [(number, by) for number, by in leaps.get(track, ()) if _is_jump(by, jumps)]
        shifts = {number: by - (one.lasts[number - 1] or one.typical) for number, by in found}
        scanned[track] = _track_scan(one, shifts, begin)
    active = [scanned[track] for track in used if track in scanned]
    spans = {int(time // SPAN) for one in active for time in one.times}
    gaps = [by for track in used for _, by in leaps.get(track, ()) if by > 0 and not _is_jump(by, jumps)]
    forward = [by for by in jumps if by > 0]
    return PacketScan(
        tracks=scanned,
        spans=len(spans),
        largest_gap=max(gaps, default=0.0),
        smallest_jump=min(forward, default=0.0),
        restarts=bool(jumps),
        encrypted=encrypted,
    )


def _read_packets(lines: bytes, ticks: Mapping[int, float]) -> tuple[dict[int, _Packets], bool]:
    found: dict[int, _Packets] = {}
    encrypted = False
    for line in io.BytesIO(lines):
        fields = line.split(b",", 5)
        if len(fields) < 5 or not fields[0].isdigit():
            continue
        index, shown, decoded, lasts, flags = fields[:5]
        tick = ticks.get(int(index))
        # Containers may give one of the two times alone: the first packets, or AVI, which has none for showing.
        time = _number(shown if shown != b"N/A" else decoded)
        if tick is None or time is None or _DISCARDED in flags:
            continue
        one = found.setdefault(int(index), _Packets())
        coded = _number(decoded)
        one.shown.append(time * tick)
        one.decoded.append((time if coded is None else coded) * tick)
        one.lasts.append((_number(lasts) or 0) * tick)
        one.keys.append(b"K" in flags)
        encrypted = encrypted or b"Encryption info" in line
    return found, encrypted


def _number(text: bytes) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _is_jump(by: float, jumps: Sequence[float]) -> bool:
    return any(abs(by - jump) <= SIMILAR for jump in jumps)


def _typical(gaps: Iterable[float]) -> float:
    """Return the gap between most packets, in seconds."""
    order = sorted(gaps)
    return min(order[len(order) // 2], LONGEST_GAP) if order else 0.0


def _track_scan(one: _Packets, shifts: Mapping[int, float], begin: float) -> TrackScan:
    made, shift = TrackScan(), begin
    for number, (shown, key) in enumerate(zip(one.shown, one.keys, strict=True)):
        shift += shifts.get(number, 0.0)
        time = shown - shift
        made.times.append(time)
        if key:
            made.keys.append(time)
        elif not made.keys:
            made.before_key += 1
    # Of the times without jumps: where a clock starts again, packets of both takes would stand between each other.
    order = sorted(range(len(made.times)), key=made.times.__getitem__)
    gaps = array("d", (made.times[b] - made.times[a] for a, b in pairwise(order)))
    # Most claim to last longer than until the next one: a browser's WebM names no durations, and ffmpeg guesses them.
    too_long = sum(one.lasts[number] > gap * LONGER for number, gap in zip(order, gaps, strict=False))
    made.guessed = too_long * 2 > len(gaps)
    typical = _typical(gaps) if made.guessed or not all(one.lasts) else 0.0
    told = array("d", bytes(8 * len(one.lasts))) if made.guessed else one.lasts
    made.end = max((made.times[number] + (told[number] or typical) for number in order), default=0.0)
    made.pause = max((gap - (told[a] or typical) for a, gap in zip(order, gaps, strict=False)), default=0.0)
    return made
