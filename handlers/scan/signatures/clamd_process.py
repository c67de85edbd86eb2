"""clamd as a child process: started, asked to load another set, stopped. Its lines become lines of our log."""

import asyncio
import contextlib
import signal
from collections.abc import Sequence

import structlog

from handlers.scan.clamd.instream import Address, ask
from handlers.scan.signatures.freshclam import bound_command, child_environment
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

LOAD_DEADLINE = 600.0
"""Seconds to load a set. The official ones take half a minute on a slow machine."""
STOP_DEADLINE = 20.0
"""Seconds to end after SIGTERM, below ECS's 30."""
PROBE_PAUSE = 0.1
"""Seconds between two questions whether it answers."""
ANSWER_DEADLINE = 10.0
_LOADED = "Database correctly reloaded"
_NOT_LOADED = ("Database reload failed", "Database reload setup failed")


class ClamdProcess:
    """One clamd that `command` starts and that listens at `address`."""

    def __init__(self, command: Sequence[str], address: Address) -> None:
        self._command = command
        self._address = address
        self._process: asyncio.subprocess.Process | None = None
        self._relay: asyncio.Task[None] | None = None
        self._reloads: asyncio.Queue[bool] = asyncio.Queue()
        self._last_lines: list[str] = []

    async def start(self) -> str:
        """Start it and wait until it answers. Returns why it does not, or nothing."""
        try:
            # Without this process nobody would renew its signatures.
            self._process = await asyncio.create_subprocess_exec(
                *bound_command(*self._command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=child_environment(),
            )
        except OSError as error:
            return f"clamd cannot be started: {error}"
        self._last_lines = []
        if self._process.stdout:
            self._relay = asyncio.create_task(self._relay_lines(self._process.stdout), name="relay clamd's lines")
        try:
            async with asyncio.timeout(LOAD_DEADLINE):
                while self._process.returncode is None:
                    with contextlib.suppress(UnavailableError):
                        if await ask(self._address, "PING") == b"PONG":
                            return ""
                    await asyncio.sleep(PROBE_PAUSE)
        except TimeoutError:
            await self.stop()
            return f"clamd does not answer after {LOAD_DEADLINE:.0f} s"
        if self._relay:
            await self._relay
        return f"clamd ended with {self._process.returncode}: {' | '.join(self._last_lines)}"

    async def wait(self) -> int:
        """Wait until it ends; return its exit status, negative for a signal."""
        return await self._process.wait() if self._process else 0

    async def reload(self) -> str:
        """Have it load its folder anew, while scans go on with the set that it has. Returns why it cannot."""
        while not self._reloads.empty():
            self._reloads.get_nowait()
        try:
            async with asyncio.timeout(ANSWER_DEADLINE):
                answer = await ask(self._address, "RELOAD")
            if answer != b"RELOADING":
                return f"clamd answers {answer!r}"
            async with asyncio.timeout(LOAD_DEADLINE):
                loaded = await self._reloads.get()
        except UnavailableError as error:
            return str(error)
        except TimeoutError:
            return "clamd does not say that it has loaded the set"
        return "" if loaded else " | ".join(self._last_lines)

    async def stop(self) -> None:
        """Ask it to end; kill it after STOP_DEADLINE."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _relay_lines(self, output: asyncio.StreamReader) -> None:
        while line := await output.readline():
            text = line.decode(errors="replace").strip()
            log.info("clamd.line", line=text)
            if "ERROR" in text or "LibClamAV Error" in text:
                self._last_lines = [*self._last_lines[-2:], text]
            if _LOADED in text:
                self._last_lines = []
                self._reloads.put_nowait(True)
            elif any(mark in text for mark in _NOT_LOADED):
                self._reloads.put_nowait(False)
        self._reloads.put_nowait(False)  # it ended: who waits for a reload waits in vain
