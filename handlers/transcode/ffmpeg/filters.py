"""Finds out which way of tone mapping an ffmpeg was built with."""

from pathlib import Path

from handlers.sandbox import SandboxError, run_limited
from media.errors import Code, RetryableError

TIMEOUT = 20.0
MEMORY = 2 * 1024**3


async def tone_map_of(ffmpeg: str, folder: Path) -> str:
    """The name in TONE_MAPS of what `ffmpeg` can do. Raises RetryableError when it does not run."""
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
