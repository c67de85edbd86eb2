"""Chooses the poster among the frames that an engine captured, since films open black, fade, and show empty slides.

Engines capture by time alone. Frames are measured here, for both engines alike, in a child process: our encoders wrote
these JPEGs, but users made the pictures.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from handlers.sandbox import ChildStartError, SandboxError, run_limited
from media.asset import ObjectVersion
from media.aws.s3 import MissingObjectError, ObjectStorage, StoredFile
from media.errors import Code, RetryableError

log = structlog.get_logger(__name__)

DARK, BRIGHT = 20.0, 245.0
"""Mean luma, of 255, below which a frame looks black and above which it looks white."""
FLAT = 4.0
"""Standard deviation of luma of a frame with content. Two lines of text give about 10, one color or fog below 2."""
STEP = 4.0
"""Difference from which two spreads count as different, since two encoders never agree to the last bit."""
FILE_LIMIT = 32 * 1024 * 1024
"""Bytes of a capture. A JPEG of 4096 x 4096 pixels of noise has about 20 MB at this quality."""
TIMEOUT = 30.0
MEMORY = 1024**3
_PROGRAM = Path(__file__).with_name("frame_stats.py")


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Mean and standard deviation of luma, 0 to 255."""

    mean: float
    spread: float

    @property
    def is_blank(self) -> bool:
        """Whether the frame looks black or white."""
        return not DARK <= self.mean <= BRIGHT

    @property
    def has_content(self) -> bool:
        """Whether the frame shows something."""
        return not self.is_blank and self.spread >= FLAT

    @property
    def rank(self) -> tuple[int, bool]:
        """Order among frames without content: first the larger spread, then neither black nor white."""
        return int(self.spread / STEP), not self.is_blank


UNREADABLE = FrameStats(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PosterChoice:
    """The chosen file, the other captures, and whether the chosen one shows something."""

    chosen: StoredFile
    rest: tuple[StoredFile, ...]
    has_content: bool


async def choose_poster(storage: ObjectStorage, bucket: str, captures: Sequence[StoredFile]) -> PosterChoice | None:
    """Return the first of `captures`, in order of preference, that shows something; else the one that shows most.

    Returns None when there are no captures. Raises RetryableError when a frame could not be measured.
    """
    best: tuple[FrameStats, StoredFile] | None = None
    for capture in captures:
        try:
            stats = UNREADABLE
            if capture.size <= FILE_LIMIT:
                stats = await measure_frame(await storage.read(ObjectVersion(bucket, capture.key), limit=FILE_LIMIT))
        except MissingObjectError:
            continue  # Another attempt to finish the job has removed it: it chose another capture.
        if stats.has_content or best is None or stats.rank > best[0].rank:
            best = stats, capture
        if stats.has_content:
            break
    if best is None:
        return None
    stats, chosen = best
    rest = tuple(capture for capture in captures if capture is not chosen)
    return PosterChoice(chosen, rest, has_content=stats.has_content)


async def measure_frame(jpeg: bytes) -> FrameStats:
    """Measure a JPEG; `UNREADABLE` when it is none. Raises RetryableError when no child could be started."""
    try:
        child = await run_limited(
            [sys.executable, "-I", str(_PROGRAM)],
            timeout=TIMEOUT,
            memory=MEMORY,
            cpu_seconds=round(TIMEOUT),
            file_bytes=0,
            cwd=Path("/"),
            stdin=jpeg,
        )
    except ChildStartError as error:
        raise RetryableError(Code.WORKER_CRASHED, f"nothing to look at posters with: {error}") from error
    except SandboxError as error:
        log.warning("transcode.poster_unreadable", error=str(error))
        return UNREADABLE
    if child.returncode:
        log.warning("transcode.poster_unreadable", status=child.returncode, error=child.stderr[-500:].decode("latin1"))
        return UNREADABLE
    mean, spread = child.stdout.split()
    return FrameStats(float(mean), float(spread))
