"""What it means when ffmpeg does not end well: the file's fault, or ours. Pure."""

import re
import signal

import structlog

from handlers.sandbox import ending_signal
from handlers.scratch import no_room
from handlers.transcode.ffmpeg.process import CompletedFfmpeg
from media.errors import Code, RejectedError, RetryableError

log = structlog.get_logger(__name__)

CUT_SHORT = re.compile(r"partial file|File ended prematurely")
"""What ffmpeg says of a file that ends before its index says."""
DAMAGED = re.compile(
    r"Invalid data found when processing input|rror while decoding|Nothing was written into output|"
    r"does not contain any stream|matches no streams|Format not on whitelist|Decode error rate",
)
"""What ffmpeg says of a file whose content is at fault."""
_MEMORY = re.compile(r"Cannot allocate memory|malloc of size")
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\S+")
_FULL = re.compile(r"No space left on device|File too large")
_LOST = re.compile(rf"Slave muxer #\d+ failed|{_FULL.pattern}")
"""What is not written at the very end, an MP4's index say, leaves ffmpeg's status 0: it goes on with the rest."""


def check_ended(ended: CompletedFfmpeg, *, full: bool = False) -> None:
    """Raises RejectedError when the file made ffmpeg fail or is not whole, RetryableError when something else did.

    `full`: whether the disk looks as if it had been; what ffmpeg says may be the file's words. It goes to the log,
    without the source's address, and to nobody else.
    """
    if CUT_SHORT.search(ended.complaint):
        raise RejectedError(Code.CORRUPT, "the file ends before its index says")
    if ended.status == 0 and not _LOST.search(ended.complaint):
        return
    log.warning(
        "transcode.ffmpeg_failed", status=ended.status, complaint=_ADDRESS.sub("source", ended.complaint)[-2000:]
    )
    number = ending_signal(ended.status)
    if number in {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}:
        raise RetryableError(Code.WORKER_CRASHED, "ffmpeg was killed")
    if full and _FULL.search(ended.complaint):
        raise no_room()
    if _FULL.search(ended.complaint):
        raise RetryableError(Code.TRANSCODER_ERROR, "there was no room on the disk for what is made")
    if ended.status == 0:
        raise RetryableError(Code.TRANSCODER_ERROR, "ffmpeg did not write all of what is made")
    if number in {signal.SIGXCPU, signal.SIGXFSZ} or _MEMORY.search(ended.complaint):
        raise RejectedError(Code.RESOURCE_LIMIT, "transcoding the file needs more memory, time or room than allowed")
    if number:
        raise RejectedError(Code.CORRUPT, f"the file made ffmpeg crash (signal {number})")
    if DAMAGED.search(ended.complaint):
        raise RejectedError(Code.CORRUPT, "the file's content cannot be decoded")
    raise RetryableError(Code.TRANSCODER_ERROR, f"ffmpeg ended with status {ended.status}")
