"""Finds out which tone mapping filters an ffmpeg was built with."""

from pathlib import Path

from handlers.sandbox import SandboxError, run_limited
from media.errors import Code, RetryableError

TIMEOUT = 20.0
"""Seconds, of which all may be CPU time."""
MEMORY = 2 * 1024**3
"""Bytes of address space."""


async def find_tone_map(ffmpeg: str, folder: Path) -> str:
    """Return the key of TONE_MAPS that `ffmpeg` supports. Raises RetryableError when it does not run."""
    try:
        child = await run_limited(
            [ffmpeg, "-hide_banner", "-filters"],
            timeout=TIMEOUT,
            memory=MEMORY,
            cpu_seconds=round(TIMEOUT),
            file_bytes=0,
            cwd=folder,
        )
    except SandboxError as error:
        raise RetryableError(Code.WORKER_CRASHED, f"ffmpeg did not tell its filters: {error}") from error
    return "zscale" if b" zscale " in child.stdout else "scale"
