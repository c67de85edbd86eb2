"""Isolation of a command as far as the platform offers it: limits, namespaces, no network, few files.

The tools are util-linux's `setpriv`, `unshare` and `prlimit`. A probe tries each of them once and logs what is missing
or forbidden. Only the resource limits are mandatory: `launcher.py` sets them where `prlimit` is missing.
"""

import functools
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

SEARCH_PATH = os.pathsep.join(("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"))
OPEN_FILES = 256
"""Descriptors one child may hold: libraries, its input, a handful of outputs."""
PROBE_TIMEOUT = 10.0
"""Seconds for one trial of a tool."""
GRACE = 1
"""Seconds of CPU between SIGXCPU, which a child may handle, and SIGKILL."""
_LAUNCHER = Path(__file__).with_name("launcher.py")
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--no-new-privs")
# With a process namespace, everything that a child leaves behind dies with it, even in a session of its own. With a
# `/proc` of its own it cannot read the daemon's environment. Where no mount is allowed, `hardening.py` protects that.
_AS_ROOT = ("unshare", "--pid", "--fork", "--kill-child")
_AS_USER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
_OWN_PROC = "--mount-proc"
_NAMESPACES = ((*_AS_ROOT, _OWN_PROC), (*_AS_USER, _OWN_PROC), _AS_ROOT, _AS_USER)
# The first process of a namespace ignores the signals of its limits, and `unshare` cannot pass on that SIGKILL ended
# it. So a shell comes first; its status is 128 plus the number of the signal that ended the program.
_FIRST_PROCESS = ("/bin/sh", "-c", '"$@"; exit $?', "sh")
_ROOTFS = Path(__file__).with_name("rootfs.py")
_ROOT = Path(__file__).parents[2]
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *(f"/etc/{name}" for name in ("ld.so.cache", "alternatives", "localtime", "hosts", "resolv.conf", "nsswitch.conf")),
    *("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs"),
    *(sys.prefix, sys.base_prefix, str(_ROOT / "handlers"), str(_ROOT / "media")),
)
"""Paths that every child may read: programs, libraries, name resolution, certificates, and our code."""
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


@dataclass(frozen=True, slots=True)
class Isolation:
    """The isolation that this platform offers, as command prefixes. An empty prefix stands for a missing tool."""

    die_with_parent: tuple[str, ...]
    namespaces: tuple[str, ...]
    limiter: tuple[str, ...]
    rootfs: bool = False
    """Whether a child can have a root that holds only the files of its FileView."""

    def wrap(
        self, argv: Sequence[str], limits: ChildLimits, *, network: bool, view: FileView | None = None
    ) -> tuple[str, ...]:
        """Return the command that runs `argv`, its program a full path, isolated. `network` leaves it the network."""
        no_network = () if network else ("--net",)
        view = view or FileView()
        rootfs = _rootfs_command(Path(argv[0]), view) if self.rootfs and not view.whole else ()
        namespaces = (*self.namespaces, *no_network, *rootfs, *_FIRST_PROCESS) if self.namespaces else ()
        return (*self.die_with_parent, *namespaces, *self.limiter, *self._flags(limits), "--", *argv)

    def _flags(self, limits: ChildLimits) -> tuple[str, ...]:
        kernel = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
        counted = "--user" in self.namespaces and kernel >= _FIRST_KERNEL
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


def _rootfs_command(program: Path, view: FileView) -> tuple[str, ...]:
    """Return the prefix that gives a command a root of these files and, where it lies elsewhere, its own folder."""
    programs = {str(path.parent) for path in (program, program.resolve())} - {"/"}
    reads = (*_SYSTEM, *programs, *map(str, view.reads))
    return (sys.executable, "-I", "-S", str(_ROOTFS), *reads, "--write", *map(str, view.writes), "--")


@functools.cache
def probe() -> Isolation:
    """Find out, once per process, which isolation works here. Blocks for some milliseconds: call it in a thread."""
    namespaces = next((flags for flags in _NAMESPACES if _works((*flags, "--net"))), ())
    isolation = Isolation(
        die_with_parent=_DIE_WITH_PARENT if _works(_DIE_WITH_PARENT) else (),
        namespaces=namespaces,
        rootfs=_OWN_PROC in namespaces
        and _works((*namespaces, *_rootfs_command(Path("/bin/sh"), FileView()), *_FIRST_PROCESS)),
        limiter=("prlimit",) if _works(("prlimit", "--core=0:0")) else (sys.executable, "-I", "-S", str(_LAUNCHER)),
    )
    own_proc = _OWN_PROC in namespaces
    log.info(
        "sandbox.isolation",
        dies_with_parent=bool(isolation.die_with_parent),
        no_network=bool(namespaces),
        own_processes=bool(namespaces),
        own_proc=own_proc,
        own_files=isolation.rootfs,
        limits=isolation.limiter[0],
    )
    for works, wall, tool in (
        (isolation.die_with_parent, "children outlive a killed daemon until their job ends", "setpriv"),
        (namespaces, "children can reach the network", "unshare"),
        (isolation.rootfs, "children see the machine's files and sockets", "pivot_root"),
        (own_proc, "children see other processes in /proc", "unshare --mount-proc"),
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
        log.debug("sandbox.probe", command=prefix, error=str(error))
        return False
    return done.returncode == 0
