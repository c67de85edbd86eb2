"""Runs one ffmpeg for as long as it takes: tells how far it is, holds it back, ends it with all that it started."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from handlers.sandbox import ChildLimits, ChildStartError
from handlers.sandbox.process import end_shielded, read_tail, start
from media.errors import Code, RetryableError

STALL = 300.0
"""Seconds without a frame more. The index of a long MP4 is moved to its front in one go, without a word."""
DEADLINE = 11 * 3600.0
"""Seconds. SQS lets nobody hold a message for more than twelve hours."""
MEMORY = 8 * 1024**3
"""Bytes of address space: five encoders of a 1080p source reserve some 3 GiB, one of 8K rather more."""
STDERR_LIMIT = 64 * 1024

type Watch = Callable[[float], Awaitable[None]]
"""Told, twice a second, how many seconds are made. ffmpeg stands still while it waits. May raise to end all."""


@dataclass(frozen=True, slots=True)
class CompletedFfmpeg:
    """How ffmpeg ended. `complaint` is the end of what it said; it may contain the source's address."""

    status: int
    complaint: str


async def run(argv: Sequence[str], *, folder: Path, file_bytes: int, watch: Watch) -> CompletedFfmpeg:
    """Runs `argv` in `folder`; no file there may exceed `file_bytes`. Whatever happens, nothing of it is left running.

    Raises RetryableError when it does not start, stands still or takes too long, and whatever `watch` raises.
    """
    limits = ChildLimits(MEMORY, round(DEADLINE) * (os.cpu_count() or 1), file_bytes)
    try:
        process = await start(argv, limits, cwd=folder, network=True, has_stdin=False)
    except ChildStartError as error:
        raise RetryableError(Code.WORKER_CRASHED, f"ffmpeg did not start: {error}") from error
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("children are started with pipes")
    complaint = asyncio.create_task(read_tail(process.stderr, STDERR_LIMIT))
    try:
        async with asyncio.timeout(DEADLINE):
            await _follow(process, process.stdout, watch)
            return CompletedFfmpeg(await process.wait(), (await complaint).decode(errors="replace"))
    except TimeoutError as error:
        raise RetryableError(Code.RESOURCE_LIMIT, "transcoding took too long") from error
    finally:
        complaint.cancel()
        await end_shielded(process)


async def _follow(process: Process, output: asyncio.StreamReader, watch: Watch) -> None:
    """Hands on what `-progress` says, until ffmpeg has no more to say. Raises TimeoutError when it stands still."""
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
                await _paused(process, watch(made))
                due += clock.time() - before
            stall.reschedule(due)


async def _paused(process: Process, work: Awaitable[None]) -> None:
    """Lets ffmpeg stand still while `work` goes on, when that takes longer than a moment: the disk must not fill."""
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
