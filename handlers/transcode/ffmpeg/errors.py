"""Classifies a failed ffmpeg: the file's fault, or ours. Pure."""

import re
import signal
from pathlib import Path

import structlog

from handlers.sandbox import ending_signal
from handlers.scratch import no_room
from handlers.transcode.ffmpeg.process import CompletedFfmpeg
from media.errors import Code, RejectedError, RetryableError

log = structlog.get_logger(__name__)

CUT_SHORT = re.compile(r"partial file|File ended prematurely")
"""Messages of ffmpeg about a file that ends before its index says."""
DAMAGED = re.compile(
    r"Invalid data found when processing input|rror while decoding|Nothing was written into output|"
    r"does not contain any stream|matches no streams|Format not on whitelist|Decode error rate",
)
"""Messages of ffmpeg about a file whose content is damaged."""
DAMAGE_SEEN = re.compile(
    r"rror while decoding|rror submitting packet|Invalid NAL unit size|Overread|"
    r"^\[(?:mov|matroska|mpegts|avi|flv|asf|ogg)\S* @ 0x[0-9a-f]+\](?!.*(?:ended prematurely|partial file))",
    re.MULTILINE,
)
"""Messages of decoders and demuxers, at ffmpeg's level of errors, about a file of which something cannot be read."""
MAX_DAMAGE = 0.3
"""Share of frames that fail to decode, above which a file counts as damaged."""
REPORT = "decoding.log"
REPORT_ENV = {"FFREPORT": f"file={REPORT}:level=40"}
"""Environment by which ffmpeg writes what it counted into a file of its folder. ffmpeg 7.1 counts the frames that fail,
and ends with status 0 however many there are."""
REPORT_TAIL = 64 * 1024
"""Bytes of the report's end that are read. The counts stand in the last twenty lines."""
STOPPED = 255
"""The status of an ffmpeg that ended in order because of SIGTERM or SIGINT."""
_MEMORY = re.compile(r"Cannot allocate memory|malloc of size")
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\S+")
_COUNTS = re.compile(r"packets read \(\d+ bytes\); (\d+) frames decoded; (\d+) decode errors")
_FULL = re.compile(r"No space left on device|File too large")
_UNWRITTEN = re.compile(rf"Slave muxer #\d+ failed|{_FULL.pattern}")
"""Messages about outputs that are not whole. When only an MP4's index at the end fails, the exit status is 0."""


def read_damage(folder: Path) -> float:
    """Return the largest share of a track's frames that failed to decode, by the report in `folder`.

    ffmpeg before 7.0 counts nothing: then it is 0, and the exit status tells.
    """
    report = folder / REPORT
    if not report.exists():
        return 0.0
    with report.open("rb") as file:
        file.seek(max(0, report.stat().st_size - REPORT_TAIL))
        counts = _COUNTS.findall(file.read().decode(errors="replace"))
    pairs = [(int(frames), int(failed)) for frames, failed in counts]
    return max((failed / max(1, frames + failed) for frames, failed in pairs), default=0.0)


def is_damaged(stderr: str) -> bool:
    """Tell whether something in the file could not be decoded, although ffmpeg went on."""
    return bool(DAMAGE_SEEN.search(stderr))


def check_ended(ended: CompletedFfmpeg, *, full: bool = False, damage: float = 0.0, cut_short: bool = False) -> None:
    """Raise RejectedError when the file made ffmpeg fail or is not whole, RetryableError for another failure.

    `damage` is what `read_damage` found. `full` says whether the disk was seen to be full, since a message on stderr
    may be quoted from the file. `cut_short` says that the file is known to end before its index says. Only the log gets
    the stderr, without the source's address.
    """
    number = ending_signal(ended.status)
    # First of all: an ffmpeg that is being stopped takes its source for a file that ends too early.
    stopped = number in {signal.SIGKILL, signal.SIGTERM, signal.SIGINT} or ended.status == STOPPED
    if not stopped and not cut_short and CUT_SHORT.search(ended.stderr):
        raise RejectedError(Code.CORRUPT, "the file ends before its index says")
    is_damaged = damage > MAX_DAMAGE or bool(ended.status and DAMAGED.search(ended.stderr))
    if ended.status == 0 and not is_damaged and not _UNWRITTEN.search(ended.stderr):
        return
    log.warning("transcode.ffmpeg_failed", status=ended.status, stderr=_ADDRESS.sub("source", ended.stderr)[-2000:])
    if stopped:
        raise RetryableError(Code.WORKER_CRASHED, "ffmpeg was killed")
    if full and _FULL.search(ended.stderr):
        raise no_room()
    if _FULL.search(ended.stderr):
        raise RetryableError(Code.TRANSCODER_ERROR, "there was no room on the disk for what is made")
    if ended.status == 0 and not is_damaged:
        raise RetryableError(Code.TRANSCODER_ERROR, "ffmpeg did not write all of what is made")
    if number in {signal.SIGXCPU, signal.SIGXFSZ} or _MEMORY.search(ended.stderr):
        raise RejectedError(Code.RESOURCE_LIMIT, "transcoding the file needs more memory, time or room than allowed")
    if number:
        raise RejectedError(Code.CORRUPT, f"the file made ffmpeg crash (signal {number})")
    if is_damaged:
        raise RejectedError(Code.CORRUPT, "the file's content cannot be decoded")
    raise RetryableError(Code.TRANSCODER_ERROR, f"ffmpeg ended with status {ended.status}")
