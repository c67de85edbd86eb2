"""When tracks begin and end: from the header's index where there is one, else from the packets. Pure; in seconds.

The duration in a header is only a hint: it may claim hours for a few seconds, and each track ends at its own time.
"""

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.transcode.probing import ffprobe_errors
from handlers.transcode.probing.ffprobe import ProbeReading
from media.errors import Code, RejectedError

HEAD_PACKETS = 400
"""Packets of all tracks read from the beginning: a few seconds of frames, enough to recognize a variable rate."""
TAIL_SECONDS = 3.0
"""Seconds before the announced end from which packets are read."""
TAIL_PACKETS = 6000
"""Packets read at most from the last key frame before the tail, which may be far away."""
CUT_SHARE = 0.1
"""Share of the announced duration by which a file other than MP4 may end early before it counts as cut short."""
LAST_FRAME = 0.25
"""Seconds by which the header may end after the last packet, whose own duration is not always given."""
LONGEST_GAP = 1.0
"""Seconds that the last packet counts at most when its duration is estimated from the gaps before it."""
SPAN = 600
"""Seconds. At least half of a recording's spans of this length must contain packets: a slide may stay for minutes."""
SPARSE = 4000
"""Bytes per second, fewer than the poorest speech with any picture takes. All packets of a sparser file are read."""

ESTIMATED = frozenset({"mp3", "aac", "amr"})
"""Containers, by ffprobe's names, whose duration is guessed from the file's size and the first frames' bit rate. Quiet
at the beginning, or a cover behind the sound, and the guess is several times too long."""

type Header = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PacketSample:
    """Packets of both ends of a source. `times` are presentation times from the beginning, by track."""

    times: Mapping[int, Sequence[float]]
    ends: Mapping[int, float]
    """When the last packet read of each track ends."""
    tail: frozenset[int]
    """The tracks that have packets near the end."""
    bounded: bool
    """Whether the end has more packets than were read."""
    encrypted: bool
    stderr: str


@dataclass(frozen=True, slots=True)
class PacketScan:
    """All packets of a source: when its tracks end, and how many spans of time contain packets."""

    ends: Mapping[int, float]
    spans: int


@dataclass(frozen=True, slots=True)
class TrackTimes:
    """When a source begins and ends, and when each track ends. A track may end later where its end was not seen."""

    begin: float
    end: float
    ends: Mapping[int, float]

    @property
    def duration(self) -> float:
        return self.end - self.begin

    def relative(self) -> dict[int, float]:
        """Return the tracks' ends, counted from the beginning."""
        return {track: end - self.begin for track, end in self.ends.items()}


def announced_end(container: Header, streams: Sequence[Header], used: Collection[int]) -> float | None:
    """Return when the tracks in use end according to the header; None when it does not say."""
    if indexed := _indexed(container, streams, used):
        return max(indexed.values())
    if container.get("format_name") in ESTIMATED:
        return None
    # A recorder that was not stopped properly leaves 0 in the header.
    if not (declared := seconds(container.get("duration"))):
        return None
    # Matroska counts from the zero of its clock, other containers from the start of the first track.
    is_matroska = str(container.get("format_name", "")).startswith("matroska")
    return declared if is_matroska else start_time(container) + declared


def start_time(container: Header) -> float:
    """Return when the first track begins, on the file's own clock."""
    return seconds(container.get("start_time")) or 0.0


def start_offset(stream: Header, streams: Sequence[Header]) -> float:
    """Return how long after the first track this one begins; 0 when the header does not say."""
    own = seconds(stream.get("start_time"))
    starts = [start for one in streams if (start := seconds(one.get("start_time"))) is not None]
    return 0.0 if own is None else own - min(starts)


def measure_track(
    container: Header, streams: Sequence[Header], used: Collection[int], sample: PacketSample
) -> TrackTimes | None:
    """Return when the tracks in use begin and end; None when all packets must be read to know.

    Raises RejectedError(corrupt) when the file ends before its header says. An MP4's index names every byte, so its
    demuxer notices a single missing one. For other containers the header's duration is compared with the last packet.
    """
    begin, end = start_time(container), announced_end(container, streams, used)
    exact = is_mov(container)
    last = max(sample.ends.values(), default=begin)
    announced = (end or begin) - begin
    is_short = not (exact or sample.bounded) and announced + begin - last > TAIL_SECONDS + announced * CUT_SHARE
    if is_short or (exact and ffprobe_errors.is_cut_short(sample.stderr)):
        raise RejectedError(Code.CORRUPT, f"the file was cut short: {announced:.1f} s announced, less there")
    if indexed := _indexed(container, streams, used):
        return TrackTimes(begin, max(indexed.values()), indexed)
    ends = {track: sample.ends[track] for track in used if track in sample.ends}
    if end is None or sample.bounded or not sample.tail.intersection(used):
        return None
    last = max(ends.values())
    if exact and end - last > TAIL_SECONDS:
        return None  # the fragments of an MP4 need not agree with its header
    return TrackTimes(begin, end if 0 <= end - last <= LAST_FRAME else last, ends)


def measure_scanned_track(container: Header, used: Collection[int], scan: PacketScan) -> TrackTimes:
    """Return when the tracks in use begin and end, from all their packets.

    Raises RejectedError(corrupt) for a file without any packets of the tracks in use.
    """
    ends = {track: scan.ends[track] for track in used if track in scan.ends}
    if not ends:
        raise RejectedError(Code.CORRUPT, "the file has a header, but no content")
    return TrackTimes(start_time(container), max(ends.values()), ends)


def is_sparse(container: Header, duration: float) -> bool:
    """Tell whether a file is so small for its duration that it may be mostly empty."""
    return duration > 2 * SPAN and (seconds(container.get("size")) or 0.0) < SPARSE * duration


def check_filled(scan: PacketScan, duration: float) -> None:
    """Raise RejectedError(corrupt) when most of the claimed duration contains no packets."""
    if scan.spans * SPAN * 2 < duration:
        raise RejectedError(Code.CORRUPT, f"it claims to last {duration:.0f} s, and there is hardly anything in it")


def read_sample(reading: ProbeReading) -> PacketSample:
    """Read the packets that ffprobe listed. Raises what `ffprobe_errors.find_storage_error` finds."""
    if error := ffprobe_errors.find_storage_error(reading.stderr):
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
        encrypted=encrypted or ffprobe_errors.is_encrypted(reading.stderr),
        stderr=reading.stderr,
    )


def read_scan(lines: bytes, used: Collection[int], begin: float) -> PacketScan:
    """Read lines of a track's index and a time. There may be millions, so call it off the event loop's thread."""
    firsts: dict[int, float] = {}
    lasts: dict[int, float] = {}
    counts: dict[int, int] = {}
    spans: set[int] = set()
    for line in io.BytesIO(lines):
        index, _, rest = line.partition(b",")
        time = seconds(rest.partition(b",")[0].strip().decode(errors="replace"))
        if time is None or not index.isdigit() or (track := int(index)) not in used:
            continue
        firsts[track] = min(firsts.get(track, time), time)
        lasts[track] = max(lasts.get(track, time), time)
        counts[track] = counts.get(track, 0) + 1
        spans.add(int((time - begin) // SPAN))
    gaps = {track: (lasts[track] - firsts[track]) / max(1, count - 1) for track, count in counts.items()}
    return PacketScan({track: last + min(gaps[track], LONGEST_GAP) for track, last in lasts.items()}, len(spans))


def is_mov(container: Header) -> bool:
    """Tell whether it is an MP4 or QuickTime file, which share a demuxer."""
    return str(container.get("format_name", "")).startswith("mov")


def seconds(text: object) -> float | None:
    """Read ffprobe's decimal seconds; None for `N/A` and everything else that is no finite number."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _indexed(container: Header, streams: Sequence[Header], used: Collection[int]) -> dict[int, float]:
    """Return when tracks end by an MP4's sample tables; empty unless each has one (the rest may lie in fragments)."""
    found: dict[int, float] = {}
    for stream in streams:
        start, duration = seconds(stream.get("start_time")), seconds(stream.get("duration"))
        if stream.get("nb_frames", "0") != "0" and start is not None and duration:
            found[int(stream["index"])] = start + duration
    is_complete = is_mov(container) and all(track in found for track in used)
    return {track: found[track] for track in used} if is_complete else {}


def _times(packets: Sequence[Mapping[str, Any]], name: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for packet in packets:
        if (time := seconds(packet.get(name))) is not None:
            found.setdefault(int(packet["stream_index"]), []).append(time)
    return found


def _last(packets: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    found: dict[int, float] = {}
    for packet in packets:
        # The first packets of a file with reordered pictures may have only one of the two times.
        time = seconds(packet.get("pts_time"))
        time = seconds(packet.get("dts_time")) if time is None else time
        if time is not None:
            track, end = int(packet["stream_index"]), time + (seconds(packet.get("duration_time")) or 0.0)
            found[track] = max(found.get(track, end), end)
    return found
