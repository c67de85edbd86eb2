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
"""Share of the messages that is drained before the clock starts, to exclude imports and connections."""
RUN_TIMEOUT = 240.0
"""Seconds after which a client is killed and the run has failed."""
END_TIMEOUT = 10.0
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of a run. `latency`: seconds per call. `samples`: numbers of deletions at which memory is measured."""

    messages: int
    latency: float = 0.0
    samples: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """A client's figures after the warm-up. `server_load` is the share of a core that the server used."""

    per_second: float
    cpu_ms: float
    requests: float
    server_load: float
    redelivered: int
    memory: Sequence[int] = ()


class RunError(Exception):
    """Raised when a client did not drain its queue."""


def cores() -> tuple[int, int | None]:
    """Choose the client's and the server's core. The server's is None on a machine with one core."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1] if len(available) > 1 else None


def measure(command: Callable[[str], Sequence[str]], bodies: Sequence[str], plan: Plan) -> Result:
    """Measure a client on a fresh server. Raises RunError when it ends early or takes longer than `RUN_TIMEOUT`."""
    warm = max(1, int(plan.messages * WARM))
    with tempfile.TemporaryDirectory(prefix="bench-consume-") as folder:
        path = Path(folder, "bodies")
        path.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
        with _server(path, plan, warm) as server:
            url = _expect(server, "listening")["url"]
            with _client(command(url), url) as client, _watchdog(client, server, RUN_TIMEOUT + plan.messages / 500):
                return _follow(server, client, plan.messages - warm)


def _follow(server: "subprocess.Popen[str]", client: "subprocess.Popen[bytes]", counted: int) -> Result:
    _expect(server, "started")
    cpu, memory = _cpu(client.pid), [_memory(client.pid)]
    while (report := _read_event(server))["event"] == "deleted":
        memory.append(_memory(client.pid))
    cpu = _cpu(client.pid) - cpu
    memory.append(_memory(client.pid))
    return Result(
        per_second=counted / report["seconds"],
        cpu_ms=cpu / counted * 1000,
        requests=sum(report["requests"].values()) / counted,
        server_load=report["server_cpu"] / report["seconds"],
        redelivered=report["redelivered"],
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
def _watchdog(client: "subprocess.Popen[bytes]", server: "subprocess.Popen[str]", timeout: float) -> Iterator[None]:
    """Kill the client after `timeout` seconds. When the client ends, end the server too, so that no read blocks."""

    def end_server() -> None:
        client.wait()
        server.kill()

    timer = threading.Timer(timeout, client.kill)
    timer.start()
    threading.Thread(target=end_server, daemon=True).start()
    try:
        yield
    finally:
        timer.cancel()


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


def _expect(server: "subprocess.Popen[str]", event: str) -> dict[str, Any]:
    report = _read_event(server)
    if report["event"] != event:
        raise RunError(f"expected {event}, got {report}")
    return report


def _read_event(server: "subprocess.Popen[str]") -> dict[str, Any]:
    line = server.stdout.readline() if server.stdout else ""
    if not line:
        raise RunError("the client ended, or did not drain its queue in time")
    report: dict[str, Any] = json.loads(line)
    return report


def _family(pid: int) -> list[int]:
    """List a process and its descendants."""
    found, turn = [pid], 0
    while turn < len(found):
        for path in Path(f"/proc/{found[turn]}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in path.read_text(encoding="ascii").split()]
        turn += 1
    return found


def _cpu(pid: int) -> float:
    """Sum the CPU seconds of a process and its descendants, ended ones included."""
    total = 0
    for member in _family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICK


def _memory(pid: int) -> int:
    """Sum the resident bytes of a process and its descendants."""
    total = 0
    for member in _family(pid):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{member}/statm").read_text(encoding="ascii")
            total += int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total
