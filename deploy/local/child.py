"""One child process of the stack: started with a log of its own, stopped with a deadline."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_DEADLINE = 30.0
"""Seconds for a part to become ready. On an idle machine each needs less than one."""

STOP_DEADLINE = 15.0
"""Seconds for a part to end before it is killed."""
PROBE_PAUSE = 0.03
"""Seconds between two readiness probes."""
_LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp."""
TAIL_LINES = 20
"""Log lines that an error message shows."""

INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""The variables that every process of the stack inherits from the caller.

Variables of AWS, Postgres, proxies and certificates are left out: everything is on loopback, in plain HTTP.
"""

NO_CREDENTIAL_FILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "PGSSLMODE": "disable"}
"""Variables that hide the files in the caller's home: AWS profiles, certificates for Postgres."""

DOWNLOAD_VARIABLES = re.compile(
    r"(https?|all)_proxy|ssl_cert_(file|dir)|requests_ca_bundle|node_extra_ca_certs|(pip|npm_config)_\w+", re.IGNORECASE
)
"""The variables of proxies, certificates and package indexes."""


class PartError(Exception):
    """A part of the stack did not start, or ended; the message holds its last log lines."""


@dataclass(frozen=True, slots=True)
class Program:
    """A command to run as a child process.

    `stop_signal` asks it to end, within `stop_deadline` seconds. The kernel sends `parent_death_signal` when this
    process is killed. The child inherits the open `descriptors`.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    stop_deadline: float = STOP_DEADLINE
    parent_death_signal: signal.Signals = signal.SIGKILL
    descriptors: Sequence[int] = ()


class Child:
    """A started program. It leads its own process group, so a Ctrl-C on the terminal reaches only this process."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process, log: Path) -> None:
        self.program = program
        self.log = log
        self._process = process

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal, None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until it ends; return the exit status."""
        return await self._process.wait()

    def listens_on(self, port: int) -> bool:
        """Tell whether it listens on loopback's `port` itself, and not a program that was faster.

        Where the kernel does not say whose a socket is, a child that runs is believed.
        """
        try:
            rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            files = list(Path(f"/proc/{self.pid}/fd").iterdir())
        except (FileNotFoundError, PermissionError):
            return self.returncode is None
        own = set()
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                own.add(str(file.readlink()))
        return any(
            state == _LISTEN and address.endswith(f":{port:04X}") and f"socket:[{inode}]" in own
            for _, address, _, state, *_, inode in (row[:10] for row in rows)
        )

    async def until_ready(self, probe: Callable[[], Awaitable[bool]], deadline: float = START_DEADLINE) -> None:
        """Wait until `probe` returns true. Raises PartError when the child ends first or `deadline` seconds pass."""
        try:
            async with asyncio.timeout(deadline):
                while not await probe():
                    if self.returncode is not None:
                        raise PartError(self.describe_exit())
                    await asyncio.sleep(PROBE_PAUSE)
        except TimeoutError as error:
            message = f"{self.name} is not ready after {deadline:.0f} s; its log {self.log} ends:\n{self.log_tail()}"
            raise PartError(message) from error

    async def stop(self) -> bool:
        """Ask it to end, and kill it after its deadline. Returns whether it ended before that."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(self.program.stop_signal)
        try:
            async with asyncio.timeout(self.program.stop_deadline):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
            return False
        finally:
            self.kill()
        return True

    def kill(self) -> None:
        """Kill it and every process in its group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def describe_exit(self) -> str:
        """Say how it ended, with its last log lines."""
        code = self.returncode
        how = "runs" if code is None else f"exit status {code}" if code >= 0 else signal.Signals(-code).name
        return f"{self.name} ended ({how}); its log {self.log} ends:\n{self.log_tail()}"

    def log_tail(self) -> str:
        """Return the last lines of its log, indented."""
        with self.log.open(errors="replace") as file:
            return "".join(f"  | {line.rstrip()}\n" for line in deque(file, maxlen=TAIL_LINES)).rstrip()


async def start(program: Program, logs: Path) -> Child:
    """Start a program that ends when we do, with its output in `logs/<name>.log`. Raises PartError if it cannot run."""
    log = logs / f"{program.name}.log"
    with log.open("ab") as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *parent_death_command(program.parent_death_signal),
                *program.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(program.env),
                cwd=program.cwd,
                pass_fds=program.descriptors,
                start_new_session=True,
            )
        except OSError as error:
            raise PartError(f"{program.name} cannot be started: {error}") from error
    return Child(program, process, log)


def parent_death_command(number: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return a command prefix by which the kernel signals the program when we die; empty where there is none."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", number.name.removeprefix("SIG"), "--"] if setpriv else []


def base_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of every process of the stack, without its own settings."""
    return {name: environ[name] for name in INHERITED_VARIABLES if name in environ} | NO_CREDENTIAL_FILES


def restrict_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove from this process the variables that its children do not get; the user's MEDIA_ settings stay."""
    kept = {name: value for name, value in environ.items() if name.startswith("MEDIA_")}
    kept |= base_environment(environ)
    environ.clear()
    environ.update(kept)


def download_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that installers need to reach the Internet; loopback is reached without a proxy."""
    kept = {name: value for name, value in environ.items() if DOWNLOAD_VARIABLES.fullmatch(name)}
    direct = ",".join(filter(None, [environ.get("NO_PROXY") or environ.get("no_proxy"), "127.0.0.1,localhost"]))
    return kept | {"NO_PROXY": direct, "no_proxy": direct}


async def accepts_connections(host: str, port: int) -> bool:
    """Tell whether something accepts a connection there now."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):  # the other side closed first: it did accept
        await writer.wait_closed()
    return True


async def is_served(part: Child, host: str, port: int) -> bool:
    """Tell whether `part` accepts connections there; another program may have taken the port before it could."""
    return await accepts_connections(host, port) and part.listens_on(port)


@contextlib.asynccontextmanager
async def first_error() -> AsyncIterator[None]:
    """Raise only the first error of a task group: the other tasks were canceled because of it."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group
