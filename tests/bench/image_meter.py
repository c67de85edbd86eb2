"""Starts a peer's server and measures it with all its child processes: wall and CPU seconds, and memory."""

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench.image_peers import ROOT, Peer, line_of

_TICK = os.sysconf("SC_CLK_TCK")
_END_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds and bytes for one line of jobs."""

    wall: float
    cpu: float
    peak: int


class Server:
    """A running peer. A context manager."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._process = subprocess.Popen(peer.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def measure(self, jobs: list[tuple[Path, Path]]) -> Cost:
        """Run the jobs at the same time. Raises RuntimeError if the server died."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the server is started with pipes")
        family = family_of(self._process.pid)
        reset_peaks(family)
        cpu, began = cpu_seconds(family), time.perf_counter()
        self._process.stdin.write(line_of(jobs))
        self._process.stdin.flush()
        self._await_ok()
        wall = time.perf_counter() - began
        return Cost(wall, cpu_seconds(family_of(self._process.pid)) - cpu, sum(peak_memory(pid) for pid in family))

    def _await_ok(self) -> None:
        stdout = self._process.stdout
        while stdout and (line := stdout.readline()):
            if line.strip() == b"ok":  # Logs may come before it.
                return
        raise RuntimeError(f"{self.peer.name} died with status {self._process.wait(_END_TIMEOUT)}")


def reset_peaks(family: list[int]) -> None:
    """Let each process's peak of resident memory begin anew."""
    for pid in family:
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def family_of(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for member in found:
        for task in Path(f"/proc/{member}/task").glob("*/children"):
            with suppress(OSError):
                found.extend(int(child) for child in task.read_text(encoding="ascii").split())
    return found


def cpu_seconds(family: list[int]) -> float:
    """Return the seconds of CPU that these processes and their ended children used."""
    ticks = 0
    for pid in family:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += sum(int(value) for value in fields[11:15])  # Its own and its ended children's, user and system.
    return ticks / _TICK


def peak_memory(pid: int) -> int:
    """Return the peak of a process's resident memory in bytes; 0 when it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
