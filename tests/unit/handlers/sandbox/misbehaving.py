"""What a pooled child can do wrong, for the sandbox's tests: each job names one thing."""

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
    return DEEDS[verb](argument)


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


def _devour(_: str) -> str:
    return str(len(bytearray(4 << 30)))


def _write(path: str) -> str:
    with Path(path).open("wb") as out:
        out.writelines(bytes(1 << 20) for _ in range(64))
    return "unreachable"


def _family(marker: str) -> str:
    """Leaves two grandchildren behind, one of them in a session of its own, and hangs."""
    for new_session in (False, True):
        subprocess.Popen(
            [sys.executable, "-I", "-c", f"import time; {marker!r}; time.sleep(3600)"], start_new_session=new_session
        )
    return _hang("")


def _noise(_: str) -> str:
    print("not an answer" * 1000)  # noqa: T201 - the point: it must not reach the reply pipe
    return "quiet"


def _forge(_: str) -> str:
    """Writes to every descriptor it has, as code that took the child over would."""
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


def _knock(path: str) -> str:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
    except OSError as error:
        return f"refused: {error}"
    return "connected"


def _look(path: str) -> str:
    return " ".join(sorted(os.listdir(path))) if Path(path).is_dir() else "nothing"  # noqa: PTH208 - one look


def _breed(_: str) -> str:
    """How many children it can have, two hundred at most."""
    born = 0
    try:
        for _n in range(200):
            if not os.fork():
                time.sleep(3600)
            born += 1
    except OSError:
        pass
    return str(born)


def _pid(_: str) -> str:
    # Its namespace and its number there: from these the host finds the number that it knows us by.
    return os.readlink("/proc/self/ns/pid") + f" {os.getpid()}"  # noqa: PTH115 - a link of procfs, not a path


DEEDS: dict[str, Callable[[str], str]] = {
    "echo": _echo,
    "abort": _abort,
    "segfault": _segfault,
    "hang": _hang,
    "spin": _spin,
    "devour": _devour,
    "write": _write,
    "family": _family,
    "noise": _noise,
    "forge": _forge,
    "flood": _flood,
    "fail": _fail,
    "environment": _environment,
    "connect": _connect,
    "pid": _pid,
    "knock": _knock,
    "look": _look,
    "breed": _breed,
}
