"""A pool of long-lived children. Each runs one job at a time and is replaced after a failure or its share of jobs."""

import asyncio
import json
import sys
from asyncio.subprocess import Process
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from handlers.sandbox.errors import (
    ChildCrashedError,
    ChildDiskFullError,
    ChildMemoryError,
    ChildOutputError,
    ChildStartError,
    ChildTimeoutError,
    JobFailedError,
    SandboxError,
)
from handlers.sandbox.isolation import ChildLimits, FileView
from handlers.sandbox.process import end_shielded, read_tail, start

log = structlog.get_logger(__name__)

ROOT = Path(__file__).parents[2]
JOBS_PER_CHILD = 200
"""Jobs after which a child is replaced, so that a slow leak in a decoder never adds up."""
START_TIMEOUT = 30.0
"""Seconds until a new child must be ready."""
STDERR_TAIL = 4096
"""Bytes kept of a child's standard error."""
PROCESSES = 64
"""Processes of one child, threads included: a handful of encoders."""
MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 1024 * 1024),
}
"""How glibc keeps memory in a child, which asks for the same large blocks in every job.

By default it gives most of them back to the kernel, which clears their pages anew for the next job. One arena holds
less than two, of which each keeps remains of its own. More than 128 MiB at its end is given back.
"""
_WORKER_MAIN = Path(__file__).with_name("worker_main.py")


class Child:
    """One running child. Its holder is the only one to talk to it."""

    def __init__(self, process: Process) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("children are started with pipes")
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._stderr = asyncio.ensure_future(read_tail(process.stderr, STDERR_TAIL))
        self.jobs = 0
        self.healthy = True

    @classmethod
    async def launch(cls, target: str, limits: ChildLimits, cpu_seconds: int, folders: tuple[Path, ...] | None) -> Self:
        """Start a child and wait until it is ready for work. Raises ChildStartError."""
        argv = (sys.executable, "-I", str(_WORKER_MAIN), str(ROOT), target, str(cpu_seconds))
        code = ROOT / target.partition(".")[0]
        view = FileView(whole=True) if folders is None else FileView(reads=(code,), writes=folders)
        process = await start(argv, limits, cwd=Path("/"), env=MALLOC, view=view)
        child = cls(process)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await child._read_reply()
        except (SandboxError, TimeoutError) as error:
            stderr = await child.close()
            raise ChildStartError(f"a child for {target} did not become ready: {error} {stderr}") from error
        except BaseException:
            await child.close()
            raise
        return child

    @property
    def alive(self) -> bool:
        return self.healthy and self._process.returncode is None

    async def ask(self, job: str, timeout: float) -> str:  # noqa: ASYNC109 - the child does not survive it
        """Give the child one job and return its reply. Raises SandboxError.

        The child survives a reply, a JobFailedError and a ChildDiskFullError. After any other end, cancellation
        included, it is gone.
        """
        self.jobs += 1
        self.healthy = False
        try:
            async with asyncio.timeout(timeout):
                self._stdin.write(json.dumps(job).encode() + b"\n")
                await self._stdin.drain()
                reply = await self._read_reply()
            self.healthy = True
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChildCrashedError(f"the child went away: {error}") from error
        except TimeoutError as error:
            raise ChildTimeoutError(f"no answer within {timeout:g} s") from error
        except (JobFailedError, ChildDiskFullError):
            self.healthy = True
            raise
        finally:
            if not self.healthy:
                await end_shielded(self._process)
        return reply

    async def _read_reply(self) -> str:
        try:
            line = await self._stdout.readline()
        except ValueError as error:  # asyncio raises it for a line past the limit
            raise ChildOutputError("the answer is too long") from error
        if not line.endswith(b"\n"):
            raise ChildCrashedError("the child died")
        # Hostile input may have taken over the child: the line can be anything.
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise ChildCrashedError("the answer is not JSON") from error
        match answer:
            case {"ok": str(reply)}:
                return reply
            case {"memory": str(detail)}:
                raise ChildMemoryError(detail)
            case {"output": str(detail)}:
                raise ChildOutputError(detail)
            case {"full": str(detail)}:
                raise ChildDiskFullError(detail)
            case {"failed": str(detail)}:
                raise JobFailedError(detail)
        raise ChildCrashedError("the answer has no known form")

    async def close(self) -> str:
        """End the child and return the end of its standard error."""
        self.healthy = False
        await end_shielded(self._process)
        self._stderr.cancel()
        (tail,) = await asyncio.gather(self._stderr, return_exceptions=True)
        return tail.decode(errors="replace").strip() if isinstance(tail, bytes) else ""


class _Slot:
    """The place of one child: it always holds one that runs or one that starts."""

    def __init__(self, pool: "WorkerPool") -> None:
        self._pool = pool
        self._starting = asyncio.ensure_future(pool.launch())

    async def child(self) -> Child:
        """Return the child, alive. Raises ChildStartError; the next call starts another one."""
        if self._starting.done() and (self._starting.exception() or not self._starting.result().alive):
            self.renew()
        return await asyncio.shield(self._starting)

    def renew(self) -> None:
        """Replace the child in the background. The old one ends first, so that never two hold memory."""
        self._starting = asyncio.ensure_future(self._replace(self._starting))

    async def _replace(self, old: "asyncio.Future[Child]") -> Child:
        if not old.exception():
            stderr = await old.result().close()
            log.debug("sandbox.child_replaced", jobs=old.result().jobs, stderr=stderr)
        return await self._pool.launch()

    async def close(self) -> None:
        if not self._starting.done():
            self._starting.cancel()
        (child,) = await asyncio.gather(self._starting, return_exceptions=True)
        if isinstance(child, Child):
            await child.close()


class WorkerPool:
    """Owns `workers` children that run `target` (`module:factory`, see worker_main.py). An async context manager.

    Jobs see the files in `folders`, which must exist, and no others; with None they see all files.
    `memory` and `file_bytes` bound one child, `timeout` (seconds) one job; a job's CPU is bounded by the same number of
    seconds on every core.
    """

    def __init__(
        self,
        target: str,
        *,
        workers: int,
        memory: int,
        file_bytes: int,
        timeout: float,
        jobs_per_child: int = JOBS_PER_CHILD,
        folders: tuple[Path, ...] | None = None,
    ) -> None:
        self._target = target
        self._workers = workers
        self._timeout = timeout
        self._jobs_per_child = jobs_per_child
        self._cpu_seconds = max(1, round(2 * timeout))
        self._limits = ChildLimits(memory, self._cpu_seconds * (jobs_per_child + 1), file_bytes, PROCESSES)
        self._folders = folders
        self._slots: list[_Slot] = []
        self._idle: asyncio.LifoQueue[_Slot] = asyncio.LifoQueue()

    async def __aenter__(self) -> Self:
        self._slots = [_Slot(self) for _ in range(self._workers)]
        try:
            await asyncio.gather(*(slot.child() for slot in self._slots))
        except BaseException:
            await self._close()
            raise
        for slot in self._slots:
            self._idle.put_nowait(slot)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._close()

    async def run(self, job: str) -> str:
        """Run one job in a child, waiting for a free one, and return its reply. Cancellation kills that child.

        Raises every SandboxError; only JobFailedError and ChildDiskFullError leave the child alive.
        """
        slot = await self._idle.get()
        try:
            child = await slot.child()
            try:
                return await child.ask(job, self._timeout)
            finally:
                if not child.alive or child.jobs >= self._jobs_per_child:
                    slot.renew()
        finally:
            self._idle.put_nowait(slot)

    async def launch(self) -> Child:
        """Start one more child with the limits of this pool. Raises ChildStartError."""
        return await Child.launch(self._target, self._limits, self._cpu_seconds, self._folders)

    async def _close(self) -> None:
        await asyncio.gather(*(slot.close() for slot in self._slots))
        self._slots.clear()
