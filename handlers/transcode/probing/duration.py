"""When tracks begin and end: from the header's index if it agrees with itself, else from all packets. In seconds; pure.

The duration in a header is only a hint: it may claim hours for a few seconds, and each track ends at its own time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.transcode.probing import ffprobe_errors
from handlers.transcode.probing.ffprobe import ProbeReading
from handlers.transcode.probing.packet_scan import RESTARTING_CLOCKS, SPAN, PacketScan, TrackScan, read_scan
from media.errors import Code, RejectedError

HEAD_PACKETS = 400
"""Packets of all tracks read from the beginning: a few seconds of frames."""
TAIL_SECONDS = 3.0
"""Seconds before the announced end from which packets are read. A file that ends earlier was cut short."""
TAIL_PACKETS = 6000
"""Packets read at most from the last key frame before the tail, which may be far away."""
SPARSE = 4000
"""Bytes per second, fewer than the poorest speech with any picture takes. All packets of a sparser file are read."""
AAC_FRAME = 1024
"""Samples in one packet of AAC-LC."""
AGREEMENT = 0.01
"""Relative difference of two statements of an index that agree with each other."""
EXACT_LENGTHS = ("matroska", "flv", "avi", "asf", "flac", "aiff")
"""Formats whose header tells the length by the last frame that was written, by ffprobe's names."""
LACKING = 1.0
"""Seconds that an exact header announces beyond the last packet, from which a file counts as cut short."""

ESTIMATED = frozenset({"mp3", "aac", "amr"})
"""Containers, by ffprobe's names, whose duration is guessed from the file's size and the first frames' bit rate. Quiet
at the beginning, or a cover behind the sound, and the guess is several times too long."""

type Header = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PacketSample:
    """Packets of both ends of a source. `times` are presentation times from the beginning, by track."""

    times: Mapping[int, Sequence[float]]
    encrypted: bool
    stderr: str


@dataclass(frozen=True, slots=True)
class TrackTimes:
    """When each track in use begins and ends, in seconds from the beginning of the file.

    `cut_short` tells that the file was not written to its end, `lacking` the seconds that its header announces and that
    are not there, `damaged` that something in its middle cannot be read. `pause` is the longest time within one track
    that nothing fills, pictures apart.
    """

    begins: Mapping[int, float]
    ends: Mapping[int, float]
    cut_short: bool = False
    lacking: float = 0.0
    pause: float = 0.0
    damaged: bool = False
    scan: PacketScan | None = None

    @property
    def duration(self) -> float:
        return max(self.ends.values(), default=0.0)

    def track(self, index: int) -> TrackScan | None:
        """Return all packets of a track, where they were read."""
        return self.scan.tracks.get(index) if self.scan else None


def announced_end(container: Header, streams: Sequence[Header], used: Collection[int]) -> float | None:
    """Return when the tracks in use end according to the header; None when it does not say."""
    if indexed := _indexed(container, streams, used):
        return max(indexed.values())
    if container.get("format_name") in ESTIMATED:
        return None
    # A recorder that was not stopped properly leaves 0 in the header.
    if not (declared := seconds(container.get("duration"))):
        return None
    if container.get("format_name") == "avi":
        # Without the index at the end of the file, the length is a guess, and the count of pictures is not.
        rates = [(seconds(one.get("nb_frames")) or 0.0, _fraction(one.get("avg_frame_rate"))) for one in streams]
        declared = max([declared, *(frames / rate for frames, rate in rates if rate)])
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


def read_index(container: Header, streams: Sequence[Header], used: Collection[int]) -> TrackTimes | None:
    """Return when the tracks in use begin and end by an MP4's sample tables; None when all packets must be read.

    What the tables say of a track is compared: how many frames there are, how long they last, and at which rate. A
    header may have been written by hand, and the film's rate may change.
    """
    indexed = _indexed(container, streams, used)
    if not indexed or not all(_agrees(stream) for stream in streams if int(stream["index"]) in used):
        return None
    zero = start_time(container)
    starts = {int(one["index"]): (seconds(one.get("start_time")) or 0.0) - zero for one in streams}
    return TrackTimes({track: starts[track] for track in used}, {track: end - zero for track, end in indexed.items()})


def measure_scan(
    container: Header, streams: Sequence[Header], used: Collection[int], scan: PacketScan, stderr: str
) -> TrackTimes:
    """Return when the tracks in use begin and end, from all their packets.

    Raises RejectedError(corrupt) for a file without any packets of the tracks in use.
    """
    found = {track: scan.tracks[track] for track in used if track in scan.tracks}
    if not found:
        raise RejectedError(Code.CORRUPT, "the file has a header, but no content")
    announced = announced_end(container, streams, used)
    # A subtitle may be the last of all.
    last = max(track.end for track in scan.tracks.values())
    is_cut = ffprobe_errors.is_cut_short(stderr)
    is_exact = str(container.get("format_name", "")).startswith(EXACT_LENGTHS) or (is_cut and is_mov(container))
    lacking = announced - start_time(container) - last if announced is not None and is_exact else 0.0
    pictures = {int(one["index"]) for one in streams if one.get("codec_type") == "video"}
    return TrackTimes(
        begins={track: one.begin for track, one in found.items()},
        ends={track: one.end for track, one in found.items()},
        cut_short=is_cut or lacking > LACKING,
        lacking=max(0.0, lacking),
        pause=max((one.pause for track, one in found.items() if track not in pictures), default=0.0),
        damaged=ffprobe_errors.is_damaged(stderr),
        scan=scan,
    )


def scan_packets(container: Header, streams: Sequence[Header], used: Collection[int], lines: bytes) -> PacketScan:
    """Read ffprobe's list of all packets. Call it off the event loop's thread."""
    ticks = {int(one["index"]): (_fraction(one.get("time_base")) or 1.0) for one in streams}
    may_restart = str(container.get("format_name", "")).startswith(RESTARTING_CLOCKS)
    return read_scan(lines, ticks, used, begin=start_time(container), may_restart=may_restart)


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
    return PacketSample(
        # An AVI need not say when its pictures are shown, only when they are decoded.
        times=_times(packets[:HEAD_PACKETS], "dts_time") | _times(packets[:HEAD_PACKETS], "pts_time"),
        encrypted=encrypted or ffprobe_errors.is_encrypted(reading.stderr),
        stderr=reading.stderr,
    )


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


def _agrees(stream: Header) -> bool:
    """Tell whether the number of a track's frames fits the length that the index gives it."""
    frames, lasts = seconds(stream.get("nb_frames")), seconds(stream.get("duration"))
    if not frames or not lasts:
        return False
    if stream.get("codec_type") == "video":
        # The base rate fits the first frames. One that is true of all leaves no room for pictures that stay.
        per_second = _fraction(stream.get("r_frame_rate"))
    elif stream.get("codec_name") == "aac":
        per_second = (seconds(stream.get("sample_rate")) or 0.0) / AAC_FRAME
    else:
        return False
    # An edit list may hide some frames of a trimmed clip.
    return abs(frames - per_second * lasts) <= max(3.0, AGREEMENT * frames)


def _fraction(text: object) -> float:
    upper, _, lower = str(text).partition("/")
    return int(upper) / int(lower) if upper.isdigit() and lower.isdigit() and int(lower) else 0.0
