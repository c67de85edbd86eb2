"""One child process of the stack: started with a log of its own, stopped with a deadline."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_DEADLINE = 30.0
"""Seconds for a part to become ready; all start in well under one when the machine is idle."""

STOP_DEADLINE = 15.0
PROBE_PAUSE = 0.03
TAIL_LINES = 20

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""What every process of the stack gets of the caller's environment.

Nothing of AWS, of Postgres, of proxies, of certificates: everything is on loopback, in plain HTTP.
"""

NO_ACCOUNT = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "PGSSLMODE": "disable"}
"""Keeps clients from the files in the caller's home: profiles and endpoints of AWS, certificates for Postgres."""

DOWNLOADS = re.compile(
    r"(https?|all)_proxy|ssl_cert_(file|dir)|requests_ca_bundle|node_extra_ca_certs|(pip|npm_config)_\w+", re.IGNORECASE
)
"""The variables of proxies, certificates and package indexes."""


class PartError(Exception):
    """A part of the stack did not start, or ended; the message holds its last log lines."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `stop_signal` asks it to end; a part that needs longer than others says so.

    `orphan_signal` is what it gets when we die without a word, and `descriptors` are what it has open from us.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    stop_deadline: float = STOP_DEADLINE
    orphan_signal: signal.Signals = signal.SIGKILL
    descriptors: Sequence[int] = ()


class Child:
    """A started program. Its whole process group is its own, so a Ctrl-C on the terminal reaches only us."""

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
        """Until it ends; returns the exit status."""
        return await self._process.wait()

    async def until_ready(self, probe: Callable[[], Awaitable[bool]], deadline: float = START_DEADLINE) -> None:
        """Until `probe` says yes. Raises PartError when the child ends first or `deadline` seconds pass."""
        try:
            async with asyncio.timeout(deadline):
                while not await probe():
                    if self.returncode is not None:
                        raise PartError(self.obituary())
                    await asyncio.sleep(PROBE_PAUSE)
        except TimeoutError as error:
            message = f"{self.name} is not ready after {deadline:.0f} s; its log {self.log} ends:\n{self.tail()}"
            raise PartError(message) from error

    async def stop(self) -> bool:
        """Ask it to end, and kill it after its deadline. True when it ended by itself."""
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
        """End it and every process that it left in its group, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def obituary(self) -> str:
        """How it ended, and its last log lines."""
        code = self.returncode
        how = "runs" if code is None else f"exit status {code}" if code >= 0 else signal.Signals(-code).name
        return f"{self.name} ended ({how}); its log {self.log} ends:\n{self.tail()}"

    def tail(self) -> str:
        """The last lines of its log, indented."""
        with self.log.open(errors="replace") as file:
            return "".join(f"  | {line.rstrip()}\n" for line in deque(file, maxlen=TAIL_LINES)).rstrip()


async def start(program: Program, logs: Path) -> Child:
    """Start a program that dies with us, its output in `logs/<name>.log`. Raises PartError when it cannot run."""
    log = logs / f"{program.name}.log"
    with log.open("ab") as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *leash(program.orphan_signal),
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


def leash(number: signal.Signals = signal.SIGKILL) -> list[str]:
    """The prefix that makes a command end with us, where the platform has one."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", number.name.removeprefix("SIG"), "--"] if setpriv else []


def inherited(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment in which every process of the stack runs, before its own settings."""
    return {name: environ[name] for name in INHERITED if name in environ} | NO_ACCOUNT


def shield(environ: MutableMapping[str, str] = os.environ) -> None:
    """Take from this process what its children do not get either; the user's MEDIA_ settings stay."""
    kept = {name: value for name, value in environ.items() if name.startswith("MEDIA_")}
    kept |= inherited(environ)
    environ.clear()
    environ.update(kept)


def for_downloads(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what installers need to reach the Internet from here; loopback is reached without a proxy."""
    kept = {name: value for name, value in environ.items() if DOWNLOADS.fullmatch(name)}
    direct = ",".join(filter(None, [environ.get("NO_PROXY") or environ.get("no_proxy"), "127.0.0.1,localhost"]))
    return kept | {"NO_PROXY": direct, "no_proxy": direct}


async def accepts(host: str, port: int) -> bool:
    """Whether something accepts a connection there now."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):  # closed by the other side first: it did accept
        await writer.wait_closed()
    return True
