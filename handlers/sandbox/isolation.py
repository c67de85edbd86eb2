"""Puts a command behind the platform's walls: limits, an empty environment, its own session, no network.

The tools are util-linux's `setpriv`, `unshare` and `prlimit`. What the platform lacks or forbids is found out once, by
trying, and logged; only the resource limits are mandatory, and a launcher of ours sets them where `prlimit` is missing.
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
GRACE = 1
"""Seconds of CPU between the signal that says that they are used up (SIGXCPU) and the one that nobody can ignore."""
_LAUNCHER = Path(__file__).with_name("launcher.py")
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--no-new-privs")
# With a process namespace whatever a child leaves behind, even in a session of its own, dies with it. With a `/proc` of
# its own it cannot read the daemon's environment there; where no mount is allowed, the daemon hides that itself.
_AS_ROOT = ("unshare", "--pid", "--fork", "--kill-child")
_AS_USER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
_OWN_PROC = "--mount-proc"
_NAMESPACES = ((*_AS_ROOT, _OWN_PROC), (*_AS_USER, _OWN_PROC), _AS_ROOT, _AS_USER)
# The first process of a namespace ignores the signals of its limits, and what ends it `unshare` cannot pass on when it
# is SIGKILL. So a shell is the first one; it ends with 128 and the number of the signal that ended the program.
_FIRST_PROCESS = ("/bin/sh", "-c", '"$@"; exit $?', "sh")
_VIEW = Path(__file__).with_name("view.py")
_ROOT = Path(__file__).parents[2]
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *(f"/etc/{name}" for name in ("ld.so.cache", "alternatives", "localtime", "hosts", "resolv.conf", "nsswitch.conf")),
    *("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs"),
    *(sys.prefix, sys.base_prefix, str(_ROOT / "handlers"), str(_ROOT / "media")),
)
"""What every child may read: programs, libraries, how names are found, whom to trust; of ours the code alone."""
_FIRST_KERNEL = (5, 14)
"""Since then RLIMIT_NPROC counts a user namespace's own processes; before, all of the user."""
PROCESSES = 1024
"""Processes and threads of one child: five encoders on many cores have some hundreds."""
_PROCESSES_OF_ALL = 8192
"""The same where all of the user are counted."""


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What one child may use: bytes of address space, seconds of CPU in its life, bytes of any file it writes.

    `processes`, threads included, holds for ordinary users only: the kernel exempts root.
    """

    memory: int
    cpu_seconds: int
    file_bytes: int
    processes: int = PROCESSES


@dataclass(frozen=True, slots=True)
class FileView:
    """What of the machine's files a child sees beside programs and libraries: what it may read, where it may write.

    `whole`: all of them, as where the platform has no view to offer.
    """

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Isolation:
    """The walls this platform offers, as command prefixes; an empty prefix is a missing wall."""

    die_with_parent: tuple[str, ...]
    namespaces: tuple[str, ...]
    limiter: tuple[str, ...]

    view: bool = False

    def wrap(
        self, argv: Sequence[str], limits: ChildLimits, *, network: bool, view: FileView | None = None
    ) -> tuple[str, ...]:
        """`argv`, its program by its full path, behind every wall there is; `network` leaves it the network."""
        alone = () if network else ("--net",)
        view = view or FileView()
        seen = _seen(Path(argv[0]), view) if self.view and not view.whole else ()
        namespaces = (*self.namespaces, *alone, *seen, *_FIRST_PROCESS) if self.namespaces else ()
        return (*self.die_with_parent, *namespaces, *self.limiter, *self._flags(limits), "--", *argv)

    def _flags(self, limits: ChildLimits) -> tuple[str, ...]:
        kernel = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
        counted = "--user" in self.namespaces and kernel >= _FIRST_KERNEL
        values = {
            "as": limits.memory,
            "fsize": limits.file_bytes,
            "core": 0,
            "nofile": OPEN_FILES,
            "nproc": limits.processes if counted else max(limits.processes, _PROCESSES_OF_ALL),
        }
        soft, hard = within_hard_limit("cpu", limits.cpu_seconds), within_hard_limit("cpu", limits.cpu_seconds + GRACE)
        possible = {name: within_hard_limit(name, value) for name, value in values.items()}
        return (f"--cpu={soft}:{hard}", *(f"--{name}={value}:{value}" for name, value in possible.items()))


def within_hard_limit(name: str, wanted: int) -> int:
    """The limit that is wanted, or our own hard one where that is lower: without privileges nobody may raise it."""
    _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _seen(program: Path, view: FileView) -> tuple[str, ...]:
    """The program that shows the rest only these files. Where a program lies outside the system, its folder is seen."""
    programs = {str(path.parent) for path in (program, program.resolve())} - {"/"}
    reads = (*_SYSTEM, *programs, *map(str, view.reads))
    return (sys.executable, "-I", "-S", str(_VIEW), *reads, "--write", *map(str, view.writes), "--")


@functools.cache
def probe() -> Isolation:
    """Finds out, once per process, which walls stand here. Blocks for some milliseconds: call it in a thread."""
    namespaces = next((flags for flags in _NAMESPACES if _works((*flags, "--net"))), ())
    isolation = Isolation(
        die_with_parent=_DIE_WITH_PARENT if _works(_DIE_WITH_PARENT) else (),
        namespaces=namespaces,
        view=_OWN_PROC in namespaces and _works((*namespaces, *_seen(Path("/bin/sh"), FileView()), *_FIRST_PROCESS)),
        limiter=("prlimit",) if _works(("prlimit", "--core=0:0")) else (sys.executable, "-I", "-S", str(_LAUNCHER)),
    )
    _report(isolation)
    return isolation


def child_environment() -> dict[str, str]:
    """All that a child may see of the environment: nothing of AWS, nothing of ours.

    One thread for OpenMP and two malloc arenas, since each reserves address space that the limit counts.
    """
    return {"PATH": SEARCH_PATH, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def find_program(name: str) -> str | None:
    """The full path of a program: a path as it is, a name by the children's search path, then by ours."""
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


def _report(isolation: Isolation) -> None:
    log.info(
        "sandbox.isolation",
        dies_with_parent=bool(isolation.die_with_parent),
        no_network=bool(isolation.namespaces),
        own_processes=bool(isolation.namespaces),
        own_proc=_OWN_PROC in isolation.namespaces,
        own_files=isolation.view,
        limits=isolation.limiter[0],
    )
    if not isolation.die_with_parent:
        log.warning(
            "sandbox.wall_missing", wall="children outlive a killed daemon until their job ends", tool="setpriv"
        )
    if not isolation.namespaces:
        log.warning("sandbox.wall_missing", wall="children can reach the network", tool="unshare")
    if not isolation.view:
        log.warning("sandbox.wall_missing", wall="children see the machine's files and sockets", tool="pivot_root")
    if _OWN_PROC not in isolation.namespaces:
        log.warning("sandbox.wall_missing", wall="children see other processes in /proc", tool="unshare --mount-proc")
