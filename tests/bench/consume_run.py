"""One run: a fresh loopback SQS on one core, one client on another, until the queue is empty."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.consume_peers import ROOT, environment

WARM = 0.1
"""Share of the messages that is drained before the clock starts: imports, connections, compilers."""
PATIENCE = 240.0
"""Seconds a client may take before the run counts as failed."""
END_TIMEOUT = 10.0
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drained. `latency` is seconds per call; `samples` are deletions at which memory is looked at."""

    messages: int
    latency: float = 0.0
    samples: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What one client did after its warm-up. `server_load` is the share of a core that the server needed meanwhile."""

    per_second: float
    cpu_ms: float
    requests: float
    server_load: float
    redelivered: int
    memory: Sequence[int] = ()


class RunError(Exception):
    """A client that did not drain its queue; says how it ended."""


def cores() -> tuple[int, int | None]:
    """The client's and the server's core; None where there is one only."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1] if len(available) > 1 else None


def measure(command: Callable[[str], Sequence[str]], bodies: Sequence[str], plan: Plan) -> Result:
    """Raises RunError when the client ends or takes longer than `PATIENCE`."""
    warm = max(1, int(plan.messages * WARM))
    with tempfile.TemporaryDirectory(prefix="bench-consume-") as folder:
        path = Path(folder, "bodies")
        path.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
        with _server(path, plan, warm) as server:
            url = _told(server, "listening")["url"]
            with _client(command(url), url) as client, _watched(client, server, PATIENCE + plan.messages / 500):
                return _follow(server, client, plan.messages - warm)


def _follow(server: "subprocess.Popen[str]", client: "subprocess.Popen[bytes]", counted: int) -> Result:
    _told(server, "started")
    cpu, memory = _cpu(client.pid), [_memory(client.pid)]
    while (fact := _next(server))["event"] == "deleted":
        memory.append(_memory(client.pid))
    cpu = _cpu(client.pid) - cpu
    memory.append(_memory(client.pid))
    return Result(
        per_second=counted / fact["seconds"],
        cpu_ms=cpu / counted * 1000,
        requests=sum(fact["requests"].values()) / counted,
        server_load=fact["server_cpu"] / fact["seconds"],
        redelivered=fact["redelivered"],
        memory=memory,
    )


@contextlib.contextmanager
def _server(bodies: Path, plan: Plan, warm: int) -> Iterator["subprocess.Popen[str]"]:
    core = cores()[1]
    command = [sys.executable, "-m", "tests.bench.sqs_server", "--bodies", str(bodies)]
    command += ["--messages", str(plan.messages), "--warm", str(warm), "--latency", str(plan.latency)]
    command += ["--marks", json.dumps(plan.samples)]
    command += ["--core", str(core)] if core is not None else []
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        _end(process)


@contextlib.contextmanager
def _client(command: Sequence[str], queue: str) -> Iterator["subprocess.Popen[bytes]"]:
    core = cores()[0]
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        cwd=ROOT,
        env=environment(queue),
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr if "MEDIA_BENCH_SHOW_ERRORS" in os.environ else subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


@contextlib.contextmanager
def _watched(client: "subprocess.Popen[bytes]", server: "subprocess.Popen[str]", patience: float) -> Iterator[None]:
    """A client that takes too long is killed; one that ends ends the server too, so that nobody waits for it."""

    def end_server() -> None:
        client.wait()
        server.kill()

    watchdog = threading.Timer(patience, client.kill)
    watchdog.start()
    threading.Thread(target=end_server, daemon=True).start()
    try:
        yield
    finally:
        watchdog.cancel()


def _end(process: "subprocess.Popen[Any]") -> None:
    if process.stdin and not process.stdin.closed:
        process.stdin.close()
    else:
        process.terminate()
    try:
        process.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_TIMEOUT)


def _told(server: "subprocess.Popen[str]", event: str) -> dict[str, Any]:
    fact = _next(server)
    if fact["event"] != event:
        raise RunError(f"expected {event}, was told {fact}")
    return fact


def _next(server: "subprocess.Popen[str]") -> dict[str, Any]:
    line = server.stdout.readline() if server.stdout else ""
    if not line:
        raise RunError("the client ended, or did not drain its queue in time")
    fact: dict[str, Any] = json.loads(line)
    return fact


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found, turn = [pid], 0
    while turn < len(found):
        for path in Path(f"/proc/{found[turn]}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in path.read_text(encoding="ascii").split()]
        turn += 1
    return found


def _cpu(pid: int) -> float:
    """Seconds of CPU of a process, its children and those it has seen end."""
    total = 0
    for member in _family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICK


def _memory(pid: int) -> int:
    """Bytes resident."""
    total = 0
    for member in _family(pid):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{member}/statm").read_text(encoding="ascii")
            total += int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total
