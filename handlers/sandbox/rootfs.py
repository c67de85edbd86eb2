# Pathlib takes long to import, at each start of a child, and /tmp belongs to the new root:
# ruff: noqa: PTH103, PTH109, PTH110, PTH112, PTH114, PTH115, PTH120, PTH211, S108
"""The first process of a child's namespaces: it changes to a root that holds only the files that the child needs.

Run by path with `python -I -S`: READ-ONLY… --write FOLDER… -- COMMAND …; it imports nothing of ours. Sockets, settings,
other jobs' folders and everything else that is not named are out of reach: no path leads to them, and no mount hides
them that could be removed.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterable

ROOT = "/sys"
"""The folder where the new root is built: every Linux has it, and nothing that a child needs lies below it."""
SIZE = b"size=1m,mode=755"
"""Options of the new root's file system: the bytes that a child may write beside its folders. They are memory."""
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
"""The number of the system call, by architecture."""
_BIND, _RECURSIVE, _REMOUNT, _READ_ONLY = 4096, 16384, 32, 1
_KEPT = 0b1110
"""The mount flags nosuid, nodev and noexec, which a user namespace may not remove."""
_DETACH = 2
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Build the root, change to it and execute the command.

    Raises OSError, and KeyError on an architecture whose call is not known: then no child runs.
    """
    end = arguments.index("--")
    middle = arguments.index("--write")
    here = os.getcwd()
    _build(sorted(arguments[:middle], key=len), arguments[middle + 1 : end])
    # Make it the root, detach the old one, and stay in the same folder if it is still there.
    os.chdir(ROOT)
    _check(_libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."))
    _check(_libc.umount2(b".", _DETACH))
    os.chdir(here if os.path.isdir(here) else "/")
    command = arguments[end + 1 :]
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def _build(readable: Iterable[str], writable: Iterable[str]) -> None:
    _mount("tmpfs", ROOT, "tmpfs", 0, SIZE)
    seen: set[str] = set()
    for path in readable:
        if not os.path.exists(path) or any(f"{path}/".startswith(f"{above}/") for above in seen):
            continue
        seen.add(path)
        if os.path.islink(path) and os.path.dirname(path) == "/":
            os.symlink(os.readlink(path), ROOT + path)  # such as /bin, which is /usr/bin
        else:
            _bind(path)
            # Read-only where the platform allows it. Elsewhere the files' own permissions hold, as without this root.
            target = os.fsencode(ROOT + path)
            flags = _BIND | _REMOUNT | _READ_ONLY | (os.statvfs(target).f_flag & _KEPT)
            _libc.mount(None, target, None, ctypes.c_ulong(flags), None)
    for path in (*_DEVICES, "/proc", *writable):
        _bind(path)
    os.symlink("/proc/self/fd", f"{ROOT}/dev/fd")
    os.makedirs(f"{ROOT}/tmp", exist_ok=True)


def _bind(path: str) -> None:
    """Bind a file or folder into the new root."""
    target = ROOT + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(os.path.realpath(path), target, None, _BIND | _RECURSIVE)


def _mount(source: str, target: str, kind: str | None, flags: int, data: bytes | None = None) -> None:
    named = kind and os.fsencode(kind)
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), named, ctypes.c_ulong(flags), data))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(sys.argv[1:])
