"""Runs a foreign program once, on untrusted input, within limits."""

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
"""Bytes; ffprobe's JSON for a file of many streams stays far below."""
STDERR_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class CompletedChild:
    """What a program did. `stderr` is its last 64 KiB.

    `returncode` is never 0 when a signal or a limit ended it; `signal` tells which.
    """

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended it: SIGXCPU for its limit of CPU."""
        return ending_signal(self.returncode)


def ending_signal(returncode: int) -> int | None:
    """The number of the signal that ended a child, whatever walls stand here; None when it ended by itself.

    Without namespaces the program is our own child, with them it is that of a shell, which adds 128.
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
    """Runs `argv` to its end. Seconds and bytes; `env` is added to a minimal environment, never to ours.

    Raises ChildStartError, ChildTimeoutError, and ChildOutputError when it writes more than `stdout_limit` to standard
    output. Whatever happens, cancellation included, the program and its children are gone afterwards.
    """
    limits = ChildLimits(memory, cpu_seconds, file_bytes)
    process = await start(argv, limits, cwd=cwd, network=network, speaks=stdin is not None, env=env, view=view)
    try:
        async with asyncio.timeout(timeout):
            return await _converse(process, stdin, stdout_limit)
    except TimeoutError as error:
        raise ChildTimeoutError(f"{argv[0]} did not end within {timeout:g} s") from error
    finally:
        await end_shielded(process)


async def _converse(process: Process, stdin: bytes | None, stdout_limit: int) -> CompletedChild:
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("children are started with pipes")
    said = asyncio.ensure_future(read_all(process.stdout, stdout_limit))
    complained = asyncio.ensure_future(read_tail(process.stderr, STDERR_LIMIT))
    told = asyncio.ensure_future(_tell(process, stdin))
    parts = (said, complained, told)
    try:
        await asyncio.gather(*parts)
        return CompletedChild(await process.wait(), said.result(), complained.result())
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)


async def _tell(process: Process, stdin: bytes | None) -> None:
    if process.stdin is None or stdin is None:
        return
    # A program may end, or close its input, before it has read everything; its exit status tells the rest.
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(stdin)
        await process.stdin.drain()
    process.stdin.close()
