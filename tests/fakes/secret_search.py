"""A program that looks for a secret wherever a process of its user can look. It uses the standard library alone.

Its input is one JSON object: `secret`, in parts, so that no command line holds it; `pids`, the processes to look into,
or null for all; `folders` to read all files of; and `hosts`, the addresses (host:port) to ask for credentials. It
prints the places where it found the secret, and the processes that it could take over, one a line.
"""

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

PTRACE_SEIZE = 0x4206
PIDFD_OPEN, PIDFD_GETFD = 434, 438
"""The numbers of these system calls, the same on x86-64 and ARM."""
REGION = 64 * 1024 * 1024
"""Bytes read of one region of memory, and of one file."""
PATHS = (
    "/",
    "/v2/credentials",
    "/v2/credentials/",
    "/v2/metadata",
    "/v4/",
    "/latest/meta-data/iam/security-credentials/",
)
"""What may be asked for credentials by somebody who knows the address alone."""
_libc = ctypes.CDLL(None, use_errno=True)


def memory(pid: int) -> Iterator[bytes]:
    """Yield each region of a process's memory that can be read."""
    folder = Path(f"/proc/{pid}")
    with (folder / "maps").open(encoding="ascii", errors="replace") as maps, (folder / "mem").open("rb") as mem:
        for line in maps:
            bounds, rights = line.split()[:2]
            start, end = (int(part, 16) for part in bounds.split("-"))
            if rights.startswith("r"):
                with contextlib.suppress(OSError, OverflowError, ValueError):
                    mem.seek(start)
                    yield mem.read(min(end - start, REGION))


def descriptors(pid: int) -> Iterator[bytes]:
    """Yield where each open descriptor of a process leads to, and what can be read there."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        yield os.fsencode(entry.readlink())
        with contextlib.suppress(OSError):
            opened = os.open(entry, os.O_RDONLY | os.O_NONBLOCK)
            try:
                yield os.pread(opened, REGION, 0)
            finally:
                os.close(opened)


def control(pid: int) -> Iterator[str]:
    """Yield the ways in which a process can be taken over."""
    if _libc.ptrace(PTRACE_SEIZE, pid, None, None) == 0:
        yield "ptrace"
    handle = _libc.syscall(PIDFD_OPEN, pid, 0)
    if handle >= 0 and _libc.syscall(PIDFD_GETFD, handle, 0, 0) >= 0:
        yield "pidfd_getfd"


def looks(pid: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield each kind of look into a process, with what it shows."""
    for name in ("environ", "cmdline", "stat"):
        yield name, (Path(f"/proc/{pid}/{each}").read_bytes() for each in (name,))
    yield "mem", memory(pid)
    yield "fd", descriptors(pid)


def files(folder: str) -> Iterator[Path]:
    for top, _, names in os.walk(folder):
        yield from (Path(top, name) for name in names)


def search(secret: bytes, pids: list[int], folders: list[str], hosts: list[str]) -> Iterator[str]:
    """Yield each place where the secret is."""
    for pid in pids:
        yield from (f"{pid} {way}" for way in control(pid))
        for name, contents in looks(pid):
            with contextlib.suppress(OSError):
                if any(secret in content for content in contents):
                    yield f"{pid} {name}"
    for folder in folders:
        for path in files(folder):
            with contextlib.suppress(OSError):
                if path.is_file() and secret in path.read_bytes():
                    yield str(path)
    for host in hosts:
        for url in PATHS:
            with contextlib.suppress(OSError, HTTPException):
                connection = HTTPConnection(host, timeout=1)
                connection.request("GET", url)
                if secret in connection.getresponse().read():
                    yield f"{host}{url}"


def main() -> None:
    asked = json.load(sys.stdin)
    pids = asked["pids"] or [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - pids
    others = [pid for pid in pids if pid != os.getpid()]
    for place in search("".join(asked["secret"]).encode(), others, asked["folders"], asked["hosts"]):
        print(place)  # noqa: T201 - the result


if __name__ == "__main__":
    main()
