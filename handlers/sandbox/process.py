"""Start and end of one isolated child process, and bounded reads of its output."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from handlers.sandbox.errors import ChildOutputError, ChildStartError
from handlers.sandbox.isolation import ChildLimits, FileView, child_environment, find_program, probe

log = structlog.get_logger(__name__)

LINE_LIMIT = 256 * 1024
"""Bytes of one line from a child, and of the buffer behind each of its pipes."""
END_TIMEOUT = 5.0
"""Seconds a killed child may take to disappear; longer means it sits in the kernel, and is logged."""
_CHUNK = 64 * 1024
"""Bytes of one read from a pipe."""


async def start(
    argv: Sequence[str],
    limits: ChildLimits,
    *,
    cwd: Path,
    network: bool = False,
    has_stdin: bool = True,
    env: Mapping[str, str] | None = None,
    view: FileView | None = None,
) -> Process:
    """Start `argv` isolated, in a session of its own. `has_stdin` opens a pipe to its standard input.

    Without a `view` it sees and may write `cwd` alone, or no folder where that is the root. `env` is added to the
    children's small environment. Raises ChildStartError.
    """
    isolation = await asyncio.to_thread(probe)
    program = find_program(argv[0])
    if program is None:
        raise ChildStartError(f"there is no program {argv[0]!r}")
    command = isolation.wrap((program, *argv[1:]), limits, network=network, view=view or FileView.of_folder(cwd))
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE if has_stdin else DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=cwd,
            env={**child_environment(), **(env or {})},
            limit=LINE_LIMIT,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except OSError as error:
        raise ChildStartError(f"{argv[0]} did not start: {error}") from error
    except asyncio.CancelledError:
        # asyncio would kill this process alone, and wait without end for pipes that its children hold.
        await asyncio.shield(asyncio.ensure_future(_end_started(starting)))
        raise


async def _end_started(starting: "asyncio.Future[Process]") -> None:
    with suppress(OSError):
        await end(await starting)


async def end(process: Process) -> None:
    """Kill the child and its session, and wait until they are gone. Does nothing for a child that has ended.

    Without process namespaces, a grandchild that opened a session of its own survives.
    """
    if process.stdin is not None:
        process.stdin.close()
    await _end_namespace(process)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        async with asyncio.timeout(END_TIMEOUT):
            await process.wait()
            # The pipe closes only when no process is left that could still write to it.
            while process.stdout and await process.stdout.read(_CHUNK):
                pass
    except TimeoutError:
        log.warning("sandbox.child_lingers", pid=process.pid)


async def _end_namespace(process: Process) -> None:
    """Kill the first process of the child's namespace, and so all of it, and let `bwrap` reap it.

    If `bwrap` were killed with it, its end would not show that the namespace is empty.
    """
    if process.returncode is not None or not probe().namespaces:
        return
    children = _child_pids(process.pid)
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    if children:
        with suppress(TimeoutError):
            async with asyncio.timeout(END_TIMEOUT):
                await process.wait()


def _child_pids(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []  # gone meanwhile, or a kernel without this file: killing the session does it too


async def end_shielded(process: Process) -> None:
    """Do the same as `end`, and finish it even when the caller is canceled meanwhile."""
    task = asyncio.ensure_future(end(process))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def read_all(stream: asyncio.StreamReader, limit: int) -> bytes:
    """Read until the end. Raises ChildOutputError past `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while chunk := await stream.read(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise ChildOutputError(f"more than {limit} bytes of output")
        parts.append(chunk)
    return b"".join(parts)


async def read_tail(stream: asyncio.StreamReader, limit: int) -> bytes:
    """Read until the end and return the last `limit` bytes: of a long error output the end matters."""
    tail = b""
    while chunk := await stream.read(_CHUNK):
        tail = (tail + chunk)[-limit:]
    return tail
