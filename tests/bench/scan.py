"""`./run.sh bench scan [--json]`: S3 → clamd through our code, beside those who read the same bytes from disk.

Rounds are interleaved and each begins with another peer, so that load and the caches that a peer leaves behind affect
all alike. Figures are medians. The bound is `clamdscan --fdpass`,
which sends no bytes at all: clamd reads the file itself.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import scan_peers
from tests.bench.scan_peers import ROOT

MB = 1_000_000
MIB = 1024 * 1024
SIZES = {"10 MB": 10 * MB, "300 MB": 300 * MB}
ROUNDS = {"10 MB": 25, "300 MB": 9}
SLOW = "aioclamd"
"""Fifty times slower than the bound, so it is measured in one round only, with the large file."""
GOALS = {"10 MB": 1.5, "300 MB": 1.5}
MEMORY_GOAL = 64 * MIB
START_DEADLINE = 30.0
TEST_SIGNATURE = "aa15bcf478d165efd2065190eb473bcb:544:ClamAV-Test-File\n"

Scan = Callable[[str], float]
"""Scan the named file and return the seconds."""


@dataclass(frozen=True, slots=True)
class Result:
    """Medians in seconds. `to_bound` is the ratio to `clamdscan --fdpass`, `grown` the growth of memory in bytes."""

    size: str
    contender: str
    seconds: float
    to_bound: float
    rounds: int
    grown: int | None = None
    peak: int | None = None


class Server:
    """A warm peer of `scan_servers`. A context manager."""

    def __init__(self, name: str, arguments: list[str], path: str = "") -> None:
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), path]))}
        env |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_EC2_METADATA_DISABLED": "true"}
        command = [sys.executable, "-m", "tests.bench.scan_servers", name, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.grown = self.peak = 0

    def scan(self, name: str) -> float:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the server is started with pipes")
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "OK" not in answer["reply"]:
            raise RuntimeError(f"not clean: {answer['reply']}")
        self.grown, self.peak = max(self.grown, answer["grown"]), max(self.peak, answer["peak"])
        return float(answer["seconds"])

    def close(self) -> None:
        self._process.communicate(timeout=START_DEADLINE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.sh bench scan", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-scan-") as folder, ExitStack() as stack:
        results, missing = _measure(Path(folder), stack)
    _print(results, missing, as_json=options.json)
    return 0


def _measure(folder: Path, stack: ExitStack) -> tuple[list[Result], dict[str, str]]:
    for name, size in SIZES.items():
        (folder / name.replace(" ", "")).write_bytes(os.urandom(size))
    port = _free_port()
    configuration = stack.enter_context(_clamd(folder, port))
    s3_port = stack.enter_context(_s3(folder))
    arguments = [str(folder / "clamd.sock"), str(port), str(s3_port), str(folder)]
    program, package = scan_peers.clamdscan(), scan_peers.aioclamd()
    missing = {"clamdscan": program.missing, "aioclamd": package.missing}
    servers = {name: Server(name, arguments) for name in ("ours", "clamd")}
    if not package.missing:
        servers[SLOW] = Server(SLOW, arguments, str(package.path))
    for server in servers.values():
        stack.callback(server.close)
    peers: dict[str, Scan] = {name: server.scan for name, server in servers.items()}
    for way in () if program.missing else ("--fdpass", "--stream"):
        peers[f"clamdscan {way}"] = _by_clamdscan(program.path, way, configuration, folder)
    results = [one for size in SIZES for one in _compare(size, peers, servers)]
    return results, {name: why for name, why in missing.items() if why}


def _compare(size: str, peers: dict[str, Scan], servers: dict[str, Server]) -> list[Result]:
    file, taken = size.replace(" ", ""), {name: list[float]() for name in peers}
    order = list(peers.items())
    for turn in range(ROUNDS[size] + 1):
        for name, scan in order:
            once = name == SLOW and SIZES[size] > 100 * MB
            if not (once and turn > 1):
                seconds = scan("10MB" if once and not turn else file)
                taken[name] += [seconds] if turn else []  # The first round warms caches.
        order.append(order.pop(0))
    bound = statistics.median(taken.get("clamdscan --fdpass") or taken["ours"])
    return [_result(size, name, times, bound, servers.get(name)) for name, times in taken.items()]


def _result(size: str, name: str, times: list[float], bound: float, server: Server | None) -> Result:
    median = statistics.median(times)
    memory = (server.grown, server.peak) if server else (None, None)
    return Result(size, name, median, median / bound, len(times), *memory)


def _by_clamdscan(program: Path, way: str, configuration: Path, folder: Path) -> Scan:
    def scan(name: str) -> float:
        began = time.perf_counter()
        command = [str(program), way, "--no-summary", f"--config-file={configuration}", str(folder / name)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return time.perf_counter() - began

    return scan


@contextmanager
def _clamd(folder: Path, port: int) -> Iterator[Path]:
    """Run a clamd with one signature, by unix socket and by TCP. Yield its configuration file."""
    program = shutil.which("clamd") or shutil.which("clamd", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise RuntimeError("clamd is not installed: apt-get install --no-install-recommends clamav-daemon")
    (folder / "signatures").mkdir()
    (folder / "signatures/test.hdb").write_text(TEST_SIGNATURE, encoding="ascii")
    limits = dict.fromkeys(("StreamMaxLength", "MaxFileSize", "MaxScanSize"), 2000 * MIB)
    options = {
        "Foreground": "yes",
        "DatabaseDirectory": folder / "signatures",
        "LocalSocket": folder / "clamd.sock",
        "TCPSocket": port,
        "TCPAddr": "127.0.0.1",
        "TemporaryDirectory": folder,
        "AlertExceedsMax": "yes",
        "AlertEncryptedArchive": "yes",
    }
    configuration = folder / "clamd.conf"
    configuration.write_text("".join(f"{k} {v}\n" for k, v in (options | limits).items()), encoding="utf-8")
    process = subprocess.Popen([program, f"--config-file={configuration}"], stdout=subprocess.DEVNULL)
    try:
        _until_listening(port)
        yield configuration
    finally:
        process.terminate()
        process.wait(START_DEADLINE)


def _until_listening(port: int) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("clamd did not start")


@contextmanager
def _s3(folder: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.bench.scan_s3", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield int(process.stdout.readline() if process.stdout else 0)
    finally:
        process.kill()
        process.communicate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _goals(results: list[Result]) -> dict[str, bool]:
    """Return whether each goal was met."""
    by = {(one.size, one.contender): one for one in results}
    reached = {}
    for size, goal in GOALS.items():
        mine, stream = by[size, "ours"], by.get((size, "clamdscan --stream"))
        if (size, "clamdscan --fdpass") in by and stream:
            reached[f"{size}: at most {goal} x --fdpass"] = mine.to_bound <= goal
            reached[f"{size}: not slower than --stream"] = mine.seconds <= stream.seconds
        reached[f"{size}: memory grows by less than 64 MiB"] = (mine.grown or 0) < MEMORY_GOAL
    return reached


def _print(results: list[Result], missing: dict[str, str], *, as_json: bool) -> None:
    goals = _goals(results)
    if as_json:
        print(json.dumps({"results": [asdict(one) for one in results], "missing": missing, "goals": goals}))  # noqa: T201 - a command line
        return
    print(f"{'size':<8}{'peer':<20}{'seconds':>9}{'x fdpass':>10}{'MiB grown':>11}{'MiB peak':>10}")  # noqa: T201
    for one in results:
        memory = "".join(f"{value / MIB:>{width}.0f}" for value, width in ((one.grown, 11), (one.peak, 10)) if value)
        print(f"{one.size:<8}{one.contender:<20}{one.seconds:>9.3f}{one.to_bound:>10.2f}{memory}")  # noqa: T201
    for name, why in missing.items():
        print(f"{name} takes no part: {why}")  # noqa: T201
    for goal, reached in goals.items():
        print(f"{'reached' if reached else 'MISSED'}: {goal}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
