"""One run of a foreign program on untrusted input, within limits."""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from handlers.sandbox.errors import ChildTimeoutError
from handlers.sandbox.isolation import ChildLimits, FileView
from handlers.sandbox.process import end_shielded, read_all, read_tail, start

STDOUT_LIMIT = 4 * 1024 * 1024
"""Bytes of standard output. ffprobe's JSON for a file of many streams stays far below."""
STDERR_LIMIT = 64 * 1024
"""Bytes kept of standard error: its end."""


@dataclass(frozen=True, slots=True)
class CompletedChild:
    """The result of a program that ended. `stderr` is its last 64 KiB.

    `returncode` is never 0 when a signal or a limit ended it; `signal` tells which.
    """

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended the program: SIGXCPU for its limit of CPU."""
        return ending_signal(self.returncode)


def ending_signal(returncode: int) -> int | None:
    """Return the number of the signal that ended a child, with or without namespaces; None if it ended by itself.

    Without namespaces the program is our own child. With them it is the child of `bwrap`, which adds 128.
    """
    number = -returncode if returncode < 0 else returncode - 128
    return number if 0 < number < signal.NSIG else None


async def run_limited(
    argv: Sequence[str],
    *,
    timeout: float,  # noqa: ASYNC109 - it kills a process, not only a wait
    memory: int,
    cpu_seconds: int,
    file_bytes: int,
    cwd: Path,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    network: bool = False,
    stdout_limit: int = STDOUT_LIMIT,
    view: FileView | None = None,
) -> CompletedChild:
    """Run `argv` to its end. Seconds and bytes; `env` is added to a minimal environment, never to ours.

    Raises ChildStartError, ChildTimeoutError, and ChildOutputError when it writes more than `stdout_limit` to standard
    output. In every case, cancellation included, the program and its children are gone afterwards.
    """
    limits = ChildLimits(memory, cpu_seconds, file_bytes)
    process = await start(argv, limits, cwd=cwd, network=network, has_stdin=stdin is not None, env=env, view=view)
    try:
        async with asyncio.timeout(timeout):
            return await _communicate(process, stdin, stdout_limit)
    except TimeoutError as error:
        raise ChildTimeoutError(f"{argv[0]} did not end within {timeout:g} s") from error
    finally:
        await end_shielded(process)


async def _communicate(process: Process, stdin: bytes | None, stdout_limit: int) -> CompletedChild:
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("children are started with pipes")
    stdout = asyncio.ensure_future(read_all(process.stdout, stdout_limit))
    stderr = asyncio.ensure_future(read_tail(process.stderr, STDERR_LIMIT))
    tasks = (stdout, stderr, asyncio.ensure_future(_feed(process, stdin)))
    try:
        await asyncio.gather(*tasks)
        return CompletedChild(await process.wait(), stdout.result(), stderr.result())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _feed(process: Process, stdin: bytes | None) -> None:
    if process.stdin is None or stdin is None:
        return
    # A program may end, or close its input, before it has read everything. Its exit status tells the rest.
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(stdin)
        await process.stdin.drain()
    process.stdin.close()
