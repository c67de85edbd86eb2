"""Runs one ffmpeg: reports its progress, pauses it while uploads lag behind, and ends its whole process group."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from handlers.sandbox import ChildLimits, ChildStartError
from handlers.sandbox.process import end_shielded, read_tail, start
from media.errors import Code, RetryableError

STALL = 300.0
"""Seconds without progress. Moving the index of a long MP4 to its front takes a while and reports nothing."""
DEADLINE = 11 * 3600.0
"""Seconds for one ffmpeg. SQS lets nobody hold a message for more than twelve hours."""
MEMORY = 8 * 1024**3
"""Bytes of address space. Five encoders of a 1080p source reserve about 3 GiB, those of an 8K source more."""
STDERR_LIMIT = 64 * 1024
"""Bytes kept of the end of stderr."""

type Watch = Callable[[float], Awaitable[None]]
"""Called twice a second with the seconds that are done. ffmpeg is paused while it waits. It may raise to end ffmpeg."""


@dataclass(frozen=True, slots=True)
class CompletedFfmpeg:
    """The result of one ffmpeg. `stderr` is the end of its error output, which may contain the source's address."""

    status: int
    stderr: str


async def run(
    argv: Sequence[str], *, folder: Path, file_bytes: int, watch: Watch, env: Mapping[str, str] | None = None
) -> CompletedFfmpeg:
    """Run `argv` in `folder`, where no file may exceed `file_bytes`. No process is left running in any case.

    Raises RetryableError when it does not start, makes no progress or takes too long, and whatever `watch` raises.
    """
    limits = ChildLimits(MEMORY, round(DEADLINE) * (os.cpu_count() or 1), file_bytes)
    try:
        process = await start(argv, limits, cwd=folder, network=True, has_stdin=False, env=env)
    except ChildStartError as error:
        raise RetryableError(Code.WORKER_CRASHED, f"ffmpeg did not start: {error}") from error
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("children are started with pipes")
    stderr = asyncio.create_task(read_tail(process.stderr, STDERR_LIMIT))
    try:
        async with asyncio.timeout(DEADLINE):
            await _follow_progress(process, process.stdout, watch)
            return CompletedFfmpeg(await process.wait(), (await stderr).decode(errors="replace"))
    except TimeoutError as error:
        raise RetryableError(Code.RESOURCE_LIMIT, "transcoding took too long") from error
    finally:
        stderr.cancel()
        await end_shielded(process)


async def _follow_progress(process: Process, output: asyncio.StreamReader, watch: Watch) -> None:
    """Call `watch` with the output of `-progress` until it ends. Raises TimeoutError when there is no progress."""
    made, clock = 0.0, asyncio.get_running_loop()
    due = clock.time() + STALL
    async with asyncio.timeout_at(due) as stall:
        while line := await output.readline():
            name, _, value = line.decode(errors="replace").strip().partition("=")
            if name == "out_time_us" and value.isdigit() and int(value) / 1e6 > made:
                made, due = int(value) / 1e6, clock.time() + STALL
            if name == "progress":
                stall.reschedule(None)
                before = clock.time()
                await _run_paused(process, watch(made))
                due += clock.time() - before  # ffmpeg may have been paused
            stall.reschedule(due)


async def _run_paused(process: Process, work: Awaitable[None]) -> None:
    """Wait for `work`. Pause ffmpeg when that takes longer than a moment, so that the disk does not fill."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=0.2)
        if not done:
            _signal(process, signal.SIGSTOP)
            await asyncio.wait({task})
            _signal(process, signal.SIGCONT)
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
