"""A warm pool of long-lived children, each given one job at a time and replaced when it fails or has done its share."""

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
"""After so many jobs a child is replaced: a slow leak in a decoder never adds up."""
START_TIMEOUT = 30.0
STDERR_TAIL = 4096
PROCESSES = 64
"""Of one child, threads included: a handful of encoders."""
_ENTRY = Path(__file__).with_name("entry.py")


class Child:
    """One running child. Whoever holds it talks to it alone."""

    def __init__(self, process: Process) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("children are started with pipes")
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._complaints = asyncio.ensure_future(read_tail(process.stderr, STDERR_TAIL))
        self.jobs = 0
        self.sound = True

    @classmethod
    async def launch(cls, target: str, limits: ChildLimits, cpu_seconds: int, folders: tuple[Path, ...] | None) -> Self:
        """Starts a child and waits until it is ready for work. Raises ChildStartError."""
        argv = (sys.executable, "-I", str(_ENTRY), str(ROOT), target, str(cpu_seconds))
        code = ROOT / target.partition(".")[0]
        view = FileView(whole=True) if folders is None else FileView(reads=(code,), writes=folders)
        process = await start(argv, limits, cwd=Path("/"), view=view)
        child = cls(process)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await child._answer()
        except (SandboxError, TimeoutError) as error:
            complaint = await child.close()
            raise ChildStartError(f"a child for {target} did not become ready: {error} {complaint}") from error
        except BaseException:
            await child.close()
            raise
        return child

    @property
    def alive(self) -> bool:
        return self.sound and self._process.returncode is None

    async def ask(self, job: str, timeout: float) -> str:  # noqa: ASYNC109 - the child does not survive it
        """Gives the child one job. Raises SandboxError.

        After any other end than a reply, a JobFailedError or a ChildDiskFullError, cancellation included, the child is
        gone.
        """
        self.jobs += 1
        self.sound = False
        try:
            async with asyncio.timeout(timeout):
                self._stdin.write(json.dumps(job).encode() + b"\n")
                await self._stdin.drain()
                reply = await self._answer()
            self.sound = True
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChildCrashedError(f"the child went away: {error}") from error
        except TimeoutError as error:
            raise ChildTimeoutError(f"no answer within {timeout:g} s") from error
        except (JobFailedError, ChildDiskFullError):
            self.sound = True
            raise
        finally:
            if not self.sound:
                await end_shielded(self._process)
        return reply

    async def _answer(self) -> str:
        try:
            line = await self._stdout.readline()
        except ValueError as error:  # asyncio's word for a line past the limit
            raise ChildOutputError("the answer is too long") from error
        if not line.endswith(b"\n"):
            raise ChildCrashedError("the child died")
        # The child may have been taken over: nothing about the line is taken for granted.
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
        """Ends the child; gives the last words on its standard error."""
        self.sound = False
        await end_shielded(self._process)
        self._complaints.cancel()
        (words,) = await asyncio.gather(self._complaints, return_exceptions=True)
        return words.decode(errors="replace").strip() if isinstance(words, bytes) else ""


class _Slot:
    """The place of one child: it always has one, or one on its way."""

    def __init__(self, pool: "WorkerPool") -> None:
        self._pool = pool
        self._coming = asyncio.ensure_future(pool.launch())

    async def child(self) -> Child:
        """The child, alive. Raises ChildStartError; the next caller tries anew."""
        if self._coming.done() and (self._coming.exception() or not self._coming.result().alive):
            self.renew()
        return await asyncio.shield(self._coming)

    def renew(self) -> None:
        """Replaces the child in the background: first the old one goes, so that never two hold memory."""
        self._coming = asyncio.ensure_future(self._replace(self._coming))

    async def _replace(self, old: "asyncio.Future[Child]") -> Child:
        if not old.exception():
            complaint = await old.result().close()
            log.debug("sandbox.child_replaced", jobs=old.result().jobs, last_words=complaint)
        return await self._pool.launch()

    async def close(self) -> None:
        if not self._coming.done():
            self._coming.cancel()
        (child,) = await asyncio.gather(self._coming, return_exceptions=True)
        if isinstance(child, Child):
            await child.close()


class WorkerPool:
    """Owns `workers` children that run `target` (`module:factory`, see entry.py). An async context manager.

    Jobs find their files in `folders`, which must exist, and see no others; None: wherever they like.
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
        """Runs one job in a child, waiting for a free one. Cancelling it kills that child.

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
        """Starts one more child as this pool wants them. Raises ChildStartError."""
        return await Child.launch(self._target, self._limits, self._cpu_seconds, self._folders)

    async def _close(self) -> None:
        await asyncio.gather(*(slot.close() for slot in self._slots))
        self._slots.clear()
