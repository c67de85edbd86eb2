"""When tracks begin and end: by the header where it has an index, else by the packets themselves. Pure; in seconds.

What a header announces is a hint at best: it may name hours for a few seconds, and tracks end when they like.
"""

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.transcode.probing import ffprobe_errors
from handlers.transcode.probing.ffprobe import ProbeReading
from media.errors import Code, RejectedError

HEAD_PACKETS = 400
"""Of all tracks together, read from the beginning: some seconds of frames, enough to tell a variable rate."""
TAIL_SECONDS = 3.0
TAIL_PACKETS = 6000
"""Read from the last key frame before the tail on; a bound, since a key frame may be far away."""
CUT_SHARE = 0.1
"""Outside MP4 a header's duration is only a hint; a file that ends this much earlier was cut short."""
LAST_FRAME = 0.25
"""By how much a header may end after the last packet: how long that one stays is not always said."""
LONGEST_GAP = 1.0
"""For a last packet, where nothing but the others tells how long it stays."""
SPAN = 600
"""Spans of a recording in which there must be something, in half of them at least: slides stand for minutes."""
SPARSE = 4000
"""Bytes per second, fewer than the poorest speech takes together with any picture: such a file is looked through."""

type Header = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PacketSample:
    """Packets of both ends of a source: presentation times from the beginning, by track, and what was odd."""

    times: Mapping[int, Sequence[float]]
    ends: Mapping[int, float]
    """When the last packet ends that was read of each track."""
    tail: frozenset[int]
    """The tracks that have packets near the end."""
    bounded: bool
    """Whether there was more than we read of the end."""
    encrypted: bool
    complaint: str


@dataclass(frozen=True, slots=True)
class PacketScan:
    """All packets of a source: when its tracks end, and in how many spans of time anything is at all."""

    ends: Mapping[int, float]
    spans: int


@dataclass(frozen=True, slots=True)
class TrackTimes:
    """From when to when a source lasts, and when each track ends: at least, where nothing better is known."""

    begin: float
    end: float
    ends: Mapping[int, float]

    @property
    def duration(self) -> float:
        return self.end - self.begin

    def relative(self) -> dict[int, float]:
        """The tracks' ends, counted from the beginning."""
        return {track: end - self.begin for track, end in self.ends.items()}


def announced_end(container: Header, streams: Sequence[Header], used: Collection[int]) -> float | None:
    """When the tracks in use end by the header; None when it does not say."""
    if indexed := _indexed(container, streams, used):
        return max(indexed.values())
    # A recorder that was never told the end leaves 0 in the header.
    if not (declared := seconds(container.get("duration"))):
        return None
    # Matroska counts from its clock's zero, wherever the first track begins; others from there.
    return declared if is_matroska(container) else begin_of(container) + declared


def begin_of(container: Header) -> float:
    return seconds(container.get("start_time")) or 0.0


def begins(stream: Header, streams: Sequence[Header]) -> float:
    """How long after the first of all tracks this one begins; 0 where the header does not say."""
    own = seconds(stream.get("start_time"))
    starts = [start for one in streams if (start := seconds(one.get("start_time"))) is not None]
    return 0.0 if own is None else own - min(starts)


def measure_track(
    container: Header, streams: Sequence[Header], used: Collection[int], sample: PacketSample
) -> TrackTimes | None:
    """The extent of the tracks in use; None when all packets must be read to know.

    Raises RejectedError(corrupt) when the file ends before its header says. An MP4's index names every byte, so its
    reader notices a single one missing. Elsewhere the header's duration is checked against the last packet.
    """
    begin, end = begin_of(container), announced_end(container, streams, used)
    exact = is_mov(container)
    last = max(sample.ends.values(), default=begin)
    announced = (end or begin) - begin
    short = not (exact or sample.bounded) and announced + begin - last > TAIL_SECONDS + announced * CUT_SHARE
    if short or (exact and ffprobe_errors.cut_short(sample.complaint)):
        raise RejectedError(Code.CORRUPT, f"the file was cut short: {announced:.1f} s announced, less there")
    if indexed := _indexed(container, streams, used):
        return TrackTimes(begin, max(indexed.values()), indexed)
    ends = {track: sample.ends[track] for track in used if track in sample.ends}
    if end is None or sample.bounded or not sample.tail.intersection(used):
        return None
    last = max(ends.values())
    if exact and end - last > TAIL_SECONDS:
        return None  # the fragments of an MP4 need not be what its header says
    return TrackTimes(begin, end if 0 <= end - last <= LAST_FRAME else last, ends)


def measure_scanned_track(container: Header, used: Collection[int], scan: PacketScan) -> TrackTimes:
    """Raises RejectedError(corrupt) for a file without any packets of the tracks in use."""
    ends = {track: scan.ends[track] for track in used if track in scan.ends}
    if not ends:
        raise RejectedError(Code.CORRUPT, "the file has a header, but no content")
    return TrackTimes(begin_of(container), max(ends.values()), ends)


def suspicious(container: Header, duration: float) -> bool:
    """Whether a file is so small for its length that its content must be looked for."""
    return duration > 2 * SPAN and (seconds(container.get("size")) or 0.0) < SPARSE * duration


def check_filled(scan: PacketScan, duration: float) -> None:
    """Raises RejectedError(corrupt) when there is nothing in most of what a file claims to last."""
    if scan.spans * SPAN * 2 < duration:
        raise RejectedError(Code.CORRUPT, f"it claims to last {duration:.0f} s, and there is hardly anything in it")


def read_sample(reading: ProbeReading) -> PacketSample:
    """Raises what `complaints.unreachable` finds."""
    if error := ffprobe_errors.unreachable(reading.complaint):
        raise error
    packets: list[dict[str, Any]] = reading.document.get("packets", [])
    sides = [side for packet in packets for side in packet.get("side_data_list", ())]
    encrypted = any(side.get("side_data_type") == "Encryption info" for side in sides)
    tail = packets[HEAD_PACKETS:] or packets
    return PacketSample(
        # An AVI need not say when its pictures are shown, only when they are decoded.
        times=_times(packets[:HEAD_PACKETS], "dts_time") | _times(packets[:HEAD_PACKETS], "pts_time"),
        ends=_last(packets),
        tail=frozenset(_last(tail)),
        bounded=len(packets) >= HEAD_PACKETS + TAIL_PACKETS,
        encrypted=encrypted or ffprobe_errors.protected(reading.complaint),
        complaint=reading.complaint,
    )


def read_scan(lines: bytes, used: Collection[int], begin: float) -> PacketScan:
    """From lines of a track's number and a time. May be millions: not for an event loop's thread."""
    firsts: dict[int, float] = {}
    lasts: dict[int, float] = {}
    counts: dict[int, int] = {}
    spans: set[int] = set()
    for track, time in _listed(lines):
        if track not in used:
            continue
        firsts[track] = min(firsts.get(track, time), time)
        lasts[track] = max(lasts.get(track, time), time)
        counts[track] = counts.get(track, 0) + 1
        spans.add(int((time - begin) // SPAN))
    gaps = {track: (lasts[track] - firsts[track]) / max(1, count - 1) for track, count in counts.items()}
    return PacketScan({track: last + min(gaps[track], LONGEST_GAP) for track, last in lasts.items()}, len(spans))


def is_mov(container: Header) -> bool:
    return str(container.get("format_name", "")).startswith("mov")


def is_matroska(container: Header) -> bool:
    return str(container.get("format_name", "")).startswith("matroska")


def seconds(text: object) -> float | None:
    """Decimal seconds as ffprobe writes them; None for `N/A` and whatever else is no finite number."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _indexed(container: Header, streams: Sequence[Header], used: Collection[int]) -> dict[int, float]:
    """When tracks end by an MP4's sample tables; empty without one for each (the rest lies in fragments)."""
    found: dict[int, float] = {}
    for stream in streams:
        start, duration = seconds(stream.get("start_time")), seconds(stream.get("duration"))
        if stream.get("nb_frames", "0") != "0" and start is not None and duration:
            found[int(stream["index"])] = start + duration
    whole = is_mov(container) and all(track in found for track in used)
    return {track: found[track] for track in used} if whole else {}


def _times(packets: Sequence[Mapping[str, Any]], name: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for packet in packets:
        if (time := seconds(packet.get(name))) is not None:
            found.setdefault(int(packet["stream_index"]), []).append(time)
    return found


def _last(packets: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    found: dict[int, float] = {}
    for packet in packets:
        # The first packets of a file with reordered pictures may have no time of one kind.
        time = seconds(packet.get("pts_time"))
        time = seconds(packet.get("dts_time")) if time is None else time
        if time is not None:
            track, end = int(packet["stream_index"]), time + (seconds(packet.get("duration_time")) or 0.0)
            found[track] = max(found.get(track, end), end)
    return found


def _listed(lines: bytes) -> Iterator[tuple[int, float]]:
    for line in io.BytesIO(lines):
        track, _, rest = line.partition(b",")
        time = seconds(rest.partition(b",")[0].strip().decode(errors="replace"))
        if time is not None and track.isdigit():
            yield int(track), time
