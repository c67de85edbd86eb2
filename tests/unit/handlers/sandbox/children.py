"""Pools and programs for the tests, and searches for the processes that they leave."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from handlers.sandbox import CompletedChild, WorkerPool, run_limited

MIB = 1024 * 1024
TIMEOUT = 10.0
"""Seconds that a busy machine may take for a job of milliseconds."""
TARGET = "tests.unit.handlers.sandbox.misbehaving:build"


def pool_of(
    workers: int = 1, *, timeout: float = TIMEOUT, jobs_per_child: int = 200, folders: tuple[Path, ...] | None = None
) -> WorkerPool:
    return WorkerPool(
        TARGET,
        workers=workers,
        memory=512 * MIB,
        file_bytes=4 * MIB,
        timeout=timeout,
        jobs_per_child=jobs_per_child,
        folders=folders,
    )


async def pid_of(pool: WorkerPool) -> str:
    """Return the pid, on this machine, of the child that takes the next job."""
    namespace, number = (await pool.run("pid")).split(" ")
    return _pid_outside(namespace, number)


def _pid_outside(namespace: str, number: str) -> str:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked, or is not ours
            if str((folder / "ns/pid").readlink()) == namespace and _pid_inside(folder) == number:
                return folder.name
    raise LookupError(f"no process {number} in {namespace}")


def _pid_inside(folder: Path) -> str:
    lines = (folder / "status").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("NSpid:")).split()[-1]


def exists(pid: str) -> bool:
    try:
        state = Path("/proc", pid, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}  # dead, and only waiting to be reaped


def processes_with(marker: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(folder.name)
    return found


async def becomes(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - another process's end is not an event of this loop
            await asyncio.sleep(0.01)


async def run_program(
    argv: list[str],
    *,
    cwd: Path,
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - passed on
    stdin: bytes | None = None,
    network: bool = False,
    stdout_limit: int = MIB,
) -> CompletedChild:
    return await run_limited(
        argv,
        timeout=timeout,
        memory=512 * MIB,
        cpu_seconds=5,
        file_bytes=MIB,
        cwd=cwd,
        stdin=stdin,
        network=network,
        stdout_limit=stdout_limit,
    )
