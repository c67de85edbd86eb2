"""Runs of ffmpeg and ffprobe: in a session of their own, under limits, with a deadline, and never left behind."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from handlers.sandbox.isolation import within_hard_limit

STDERR_TAIL = 64 * 1024
"""Bytes kept of a child's standard error: its end."""
LINE_LIMIT = 256 * 1024
"""Bytes of one line of output; longer ones are dropped."""
ADDRESS_SPACE = 8 * 1024**3
"""Bytes that one child may have; several encoders at 1080p stay below 3 GiB."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a child. `status` is negative for a signal."""

    status: int
    stderr: str


class DeadlineError(Exception):
    """The child ran too long. It and its process group are dead."""


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    deadline: float,
    on_line: Callable[[str], None],
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run a program in `cwd` and hand each line of its standard output to `on_line`.

    Raises DeadlineError after `deadline` seconds, OSError when the program cannot be started. On cancellation,
    or when `on_line` raises, the whole process group is killed before the error goes on.
    """
    process = await asyncio.create_subprocess_exec(
        *_limits(),
        *argv,
        cwd=cwd,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=LINE_LIMIT,
    )
    try:
        async with asyncio.timeout(deadline), asyncio.TaskGroup() as pumps:
            stderr = pumps.create_task(_tail(_stream(process.stderr)))
            pumps.create_task(_lines(_stream(process.stdout), on_line))
            pumps.create_task(process.wait())
    except TimeoutError:
        raise DeadlineError(f"{Path(argv[0]).name} took longer than {deadline:.0f} s") from None
    finally:
        # The group survives if its leader alone was killed, so it is killed in every case.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())
    return Finished(process.returncode or 0, stderr.result().decode(errors="replace"))


def _limits() -> list[str]:
    """Return util-linux's wrappers where they exist: the child dies with us, and its memory is limited."""
    wrapped: list[str] = []
    if setpriv := shutil.which("setpriv"):
        wrapped += [setpriv, "--pdeathsig", "KILL"]
    if prlimit := shutil.which("prlimit"):
        wrapped += [prlimit, f"--as={within_hard_limit('as', ADDRESS_SPACE)}", "--core=0"]
    return wrapped


def _stream(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if stream is None:
        raise RuntimeError("the child was started without pipes")
    return stream


async def _lines(stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue  # Longer than LINE_LIMIT, and dropped by readline.
        if not line:
            return
        on_line(line.decode(errors="replace").rstrip("\n"))


async def _tail(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while chunk := await stream.read(8192):
        kept = (kept + chunk)[-STDERR_TAIL:]
    return kept
