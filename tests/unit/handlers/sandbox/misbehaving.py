"""A pooled child that misbehaves, for the sandbox's tests: each job names one kind of misbehavior."""

import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def build() -> Callable[[str], str]:
    return work


def work(job: str) -> str:
    verb, _, argument = job.partition(" ")
    return JOBS[verb](argument)


def _echo(argument: str) -> str:
    return argument


def _abort(_: str) -> str:
    os.abort()


def _segfault(_: str) -> str:
    ctypes.string_at(0)
    return "unreachable"


def _hang(marker: str) -> str:
    if marker:
        Path(marker).touch()
    time.sleep(3600)
    return "unreachable"


def _spin(_: str) -> str:
    while True:
        pass


def _allocate(_: str) -> str:
    return str(len(bytearray(4 << 30)))


def _write(path: str) -> str:
    with Path(path).open("wb") as out:
        out.writelines(bytes(1 << 20) for _ in range(64))
    return "unreachable"


def _family(marker: str) -> str:
    """Start two grandchildren, one of them in a session of its own, and hang."""
    for new_session in (False, True):
        subprocess.Popen(
            [sys.executable, "-I", "-c", f"import time; {marker!r}; time.sleep(3600)"], start_new_session=new_session
        )
    return _hang("")


def _noise(_: str) -> str:
    print("not an answer" * 1000)  # noqa: T201 - it must not reach the reply pipe
    return "quiet"


def _forge(_: str) -> str:
    """Write to every open descriptor, as hostile code in the child would."""
    for fd in range(3, 64):
        try:
            os.write(fd, b'["not", "ours"]\n')
        except OSError:
            continue
    return "unreachable"


def _flood(_: str) -> str:
    return "x" * (1 << 20)


def _fail(_: str) -> str:
    raise ValueError("undeclared")


def _environment(_: str) -> str:
    return "\n".join(sorted(os.environ))


def _connect(port: str) -> str:
    try:
        socket.create_connection(("127.0.0.1", int(port)), timeout=5).close()
    except OSError as error:
        return f"refused: {error}"
    return "connected"


def _connect_unix(path: str) -> str:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
    except OSError as error:
        return f"refused: {error}"
    return "connected"


def _list(path: str) -> str:
    return " ".join(sorted(os.listdir(path))) if Path(path).is_dir() else "nothing"  # noqa: PTH208 - one look


def _fork(_: str) -> str:
    """Count how many children it can start, two hundred at most."""
    started = 0
    try:
        for _n in range(200):
            if not os.fork():
                time.sleep(3600)
            started += 1
    except OSError:
        pass
    return str(started)


def _pid(_: str) -> str:
    # The namespace and the pid in it: from these the test finds the pid on the host.
    return os.readlink("/proc/self/ns/pid") + f" {os.getpid()}"  # noqa: PTH115 - a link of procfs, not a path


JOBS: dict[str, Callable[[str], str]] = {
    "echo": _echo,
    "abort": _abort,
    "segfault": _segfault,
    "hang": _hang,
    "spin": _spin,
    "allocate": _allocate,
    "write": _write,
    "family": _family,
    "noise": _noise,
    "forge": _forge,
    "flood": _flood,
    "fail": _fail,
    "environment": _environment,
    "connect": _connect,
    "pid": _pid,
    "connect-unix": _connect_unix,
    "list": _list,
    "fork": _fork,
}
