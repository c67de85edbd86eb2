"""Isolation of a command as far as the platform offers it: limits, namespaces, no network, few files.

`bwrap` (bubblewrap) makes the namespaces and the child's own view of the files. Where it is missing or forbidden,
util-linux's `setpriv` at least ends a child with its parent. Its `prlimit` sets the limits, which alone are mandatory.
A probe tries each tool once and logs what is missing.
"""

import errno
import functools
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from handlers.sandbox.errors import ChildStartError

log = structlog.get_logger(__name__)

SEARCH_PATH = os.pathsep.join(("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"))
OPEN_FILES = 256
"""Descriptors one child may hold: libraries, its input, a handful of outputs."""
PROBE_TIMEOUT = 10.0
"""Seconds for one trial of a tool."""
GRACE = 1
"""Seconds of CPU between SIGXCPU, which a child may handle, and SIGKILL."""
# A service manager sends SIGTERM to every process of the service. We alone decide what becomes of a child, by SIGKILL.
# Blocked, not ignored: ffmpeg installs handlers of its own.
_SIGNALS_BLOCKED = ("env", "--block-signal=TERM,INT,HUP")
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--no-new-privs")
# With a process namespace, everything that a child leaves behind dies with it, even in a session of its own.
_NAMESPACES = ("bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL")
_AS_USER = (*_NAMESPACES, "--unshare-user")
_ROOT = Path(__file__).parents[2]
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *(f"/etc/{name}" for name in ("ld.so.cache", "alternatives", "localtime", "hosts", "resolv.conf", "nsswitch.conf")),
    *("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs"),
    *(sys.prefix, sys.base_prefix, str(_ROOT / "handlers"), str(_ROOT / "media")),
)
"""Paths that every child may read: programs, libraries, name resolution, certificates, and our code."""
_DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))
_SCRATCH_BYTES = 1024 * 1024
"""Bytes that a child may write beside its folders, to /tmp. They are memory."""
_FIRST_KERNEL = (5, 14)
"""The first kernel whose RLIMIT_NPROC counts the processes of a user namespace; older ones count all of the user."""
PROCESSES = 1024
"""Processes and threads that one child may have: five encoders on many cores have some hundreds."""
_PROCESSES_OF_USER = 8192
"""The same limit on kernels that count all processes of the user."""


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Limits of one child: bytes of address space, seconds of CPU in its life, bytes of each file that it writes.

    `processes` includes threads and binds ordinary users only: the kernel exempts root.
    """

    memory: int
    cpu_seconds: int
    file_bytes: int
    processes: int = PROCESSES


@dataclass(frozen=True, slots=True)
class FileView:
    """The files that a child sees beside programs and libraries: `reads` read-only, `writes` for writing too.

    `whole` shows it all files, as on platforms that offer no root of its own.
    """

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    whole: bool = False

    @classmethod
    def of_folder(cls, folder: Path) -> "FileView":
        """Show a child one folder, to write too; nothing of the root."""
        path = folder.absolute()
        return cls(writes=(path,)) if path != Path("/") else cls()


@dataclass(frozen=True, slots=True)
class Isolation:
    """The isolation that this platform offers, as command prefixes. An empty prefix stands for a missing tool."""

    die_with_parent: tuple[str, ...]
    namespaces: tuple[str, ...]
    signals_blocked: tuple[str, ...] = ()
    """Keeps from a child the signals that end a whole service."""
    own_proc: bool = True
    """Whether a child in namespaces can have a `/proc` of its own. Else `hardening.py` protects our environment."""

    def wrap(
        self, argv: Sequence[str], limits: ChildLimits, *, network: bool, view: FileView | None = None
    ) -> tuple[str, ...]:
        """Return the command that runs `argv`, its program a full path, isolated. `network` leaves it the network."""
        prefix = self.die_with_parent
        if self.namespaces:
            files = _files(Path(argv[0]), view or FileView(), own_proc=self.own_proc)
            prefix = (*self.namespaces, *(() if network else ("--unshare-net",)), *files, "--")
        return (*self.signals_blocked, *prefix, "prlimit", *self._flags(limits), "--", *argv)

    def _flags(self, limits: ChildLimits) -> tuple[str, ...]:
        kernel = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
        counted = "--unshare-user" in self.namespaces and kernel >= _FIRST_KERNEL
        values = {
            "as": limits.memory,
            "fsize": limits.file_bytes,
            "core": 0,
            "nofile": OPEN_FILES,
            "nproc": limits.processes if counted else max(limits.processes, _PROCESSES_OF_USER),
        }
        soft, hard = within_hard_limit("cpu", limits.cpu_seconds), within_hard_limit("cpu", limits.cpu_seconds + GRACE)
        possible = {name: within_hard_limit(name, value) for name, value in values.items()}
        return (f"--cpu={soft}:{hard}", *(f"--{name}={value}:{value}" for name, value in possible.items()))


def within_hard_limit(name: str, wanted: int) -> int:
    """Return `wanted`, or our own hard limit where that is lower: no process without privileges may raise it."""
    _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _files(program: Path, view: FileView, *, own_proc: bool) -> Iterator[str]:
    """Yield bwrap's options for a root of these files and the program's own folder."""
    proc = ("--proc", "/proc") if own_proc else ("--bind", "/proc", "/proc")
    if view.whole:
        yield from ("--dev-bind", "/", "/", *proc)
        return
    yield from ("--size", str(_SCRATCH_BYTES), "--tmpfs", "/tmp")  # noqa: S108 - the child's own
    programs = {path.parent for path in (program, program.resolve())} - {Path("/")}
    reads = {*map(Path, _SYSTEM), *programs, *view.reads}
    for path in sorted(reads):
        if reads.isdisjoint(path.parents):
            yield from ("--ro-bind-try", str(path), str(path))
    for device in _DEVICES:
        yield from ("--dev-bind", device, device)
    yield from ("--symlink", "/proc/self/fd", "/dev/fd", *proc)
    for path in view.writes:
        yield from ("--bind", str(path), str(path))
    yield from ("--remount-ro", "/")


def _find_namespaces() -> tuple[tuple[str, ...], bool]:
    """Return the prefix that gives a child namespaces, and whether `/proc` can be its own; no prefix where none works.

    Root may need a user namespace too: in a container it has lost the capability to do without one.
    """
    prefixes = (_NAMESPACES, _AS_USER) if os.geteuid() == 0 else (_AS_USER,)
    for own_proc in (True, False):
        for prefix in prefixes:
            if _works((*prefix, "--unshare-net", *_files(Path("/bin/true"), FileView(), own_proc=own_proc), "--")):
                return prefix, own_proc
    return (), False


@functools.cache
def probe() -> Isolation:
    """Find out, once per process, which isolation works here. Blocks for some milliseconds: call it in a thread.

    Raises ChildStartError without `prlimit`: no child runs without limits.
    """
    if not _works(("prlimit", "--core=0:0")):
        raise ChildStartError("prlimit, of util-linux, is missing or forbidden")
    namespaces, own_proc = _find_namespaces()
    isolation = Isolation(
        die_with_parent=_DIE_WITH_PARENT if _works(_DIE_WITH_PARENT) else (),
        namespaces=namespaces,
        own_proc=own_proc,
        signals_blocked=_SIGNALS_BLOCKED if _works(_SIGNALS_BLOCKED) else (),
    )
    log.info(
        "sandbox.isolation",
        dies_with_parent=bool(isolation.die_with_parent or namespaces),
        no_network=bool(namespaces),
        own_processes=bool(namespaces),
        own_proc=own_proc,
        own_files=bool(namespaces),
    )
    for works, wall, tool in (
        (isolation.die_with_parent or namespaces, "children outlive a killed daemon until their job ends", "setpriv"),
        (namespaces, "children can reach the network, the machine's files and sockets", "bwrap"),
        (own_proc, "children see other processes in /proc", "bwrap --proc"),
        (isolation.signals_blocked, "children end with a SIGTERM to the whole service", "env --block-signal"),
    ):
        if not works:
            log.warning("sandbox.wall_missing", wall=wall, tool=tool)
    return isolation


def child_environment() -> dict[str, str]:
    """Return the whole environment of a child: nothing of AWS, nothing of ours.

    OpenMP gets one thread and malloc two arenas, since each reserves address space that the limit counts.
    """
    return {"PATH": SEARCH_PATH, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def find_program(name: str) -> str | None:
    """Find the full path of a program: a path as it is, a name by the children's search path, then by ours."""
    return shutil.which(name, path=SEARCH_PATH) or shutil.which(name)


_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}
"""The machine lacks something, which says nothing about the tool."""


def _works(prefix: Sequence[str]) -> bool:
    try:
        done = subprocess.run(
            [*prefix, "true"],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            raise ChildStartError(str(error)) from error
        log.debug("sandbox.probe", command=prefix, error=str(error))
        return False
    return done.returncode == 0
