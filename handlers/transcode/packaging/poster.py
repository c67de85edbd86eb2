"""Chooses the poster among the frames that an engine captured: films open black, fade, and show empty slides.

Engines capture by time alone. What is in a frame is found out here, for both alike, in a child process of its own: the
encoder of these JPEGs is ours, but what they show is not.
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
"""Mean luma, of 255: what is beyond looks black, or white, beside others."""
FLAT = 4.0
"""Standard deviation of luma. A slide with two lines of text has some 10, a wall of one colour or a fog below 2."""
STEP = 4.0
"""Spreads that differ by less count as the same: two encoders never agree to the last bit."""
FILE_LIMIT = 32 * 1024 * 1024
"""Bytes. A JPEG of 4096 x 4096 pixels of noise has some 20 MB at this quality."""
TIMEOUT = 30.0
MEMORY = 1024**3
_PROGRAM = Path(__file__).with_name("luma.py")


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Mean and standard deviation of luma, 0 to 255."""

    mean: float
    spread: float

    @property
    def telling(self) -> bool:
        """Whether one sees something."""
        return not self.dull and self.spread >= FLAT

    @property
    def dull(self) -> bool:
        return not DARK <= self.mean <= BRIGHT

    @property
    def rank(self) -> tuple[int, bool]:
        """Of those that are not telling: more to see first, then whatever is neither black nor white."""
        return int(self.spread / STEP), not self.dull


UNREADABLE = FrameStats(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PosterChoice:
    """The file chosen, the others that were captured, and whether one sees something on it."""

    chosen: StoredFile
    others: tuple[StoredFile, ...]
    telling: bool


async def choose_poster(storage: ObjectStorage, bucket: str, captures: Sequence[StoredFile]) -> PosterChoice | None:
    """The first of `captures`, in the order of preference, on which one sees something; else the one with most to see.

    None when there are none. What is gone meanwhile was removed by whoever chose another. Raises RetryableError.
    """
    best: tuple[tuple[int, bool], StoredFile] | None = None
    for capture in captures:
        look = await _look(storage, bucket, capture)
        if look and look.telling:
            return PosterChoice(capture, _without(captures, capture), telling=True)
        if look and (best is None or look.rank > best[0]):
            best = look.rank, capture
    return PosterChoice(best[1], _without(captures, best[1]), telling=False) if best else None


def _without(captures: Sequence[StoredFile], chosen: StoredFile) -> tuple[StoredFile, ...]:
    return tuple(capture for capture in captures if capture is not chosen)


async def _look(storage: ObjectStorage, bucket: str, capture: StoredFile) -> FrameStats | None:
    """None for a file that is not there."""
    if capture.size > FILE_LIMIT:
        return UNREADABLE
    try:
        jpeg = await storage.read(ObjectVersion(bucket, capture.key), limit=FILE_LIMIT)
    except MissingObjectError:
        return None
    return await measure_frame(jpeg)


async def measure_frame(jpeg: bytes) -> FrameStats:
    """What a JPEG looks like; `UNREADABLE` for what is none. Raises RetryableError when no child could be started."""
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
