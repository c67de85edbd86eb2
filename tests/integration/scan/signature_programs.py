"""The scanner's container: its two commands as they are, and what `serve` does, in this process."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from handlers.scan.clamd.instream import Address, instream
from handlers.scan.clamd.self_test import source_of
from handlers.scan.clamd.verdict import read_reply
from handlers.scan.signatures.__main__ import keep
from handlers.scan.signatures.settings import ScannerSettings
from media.asset import Verdict
from media.errors import UnavailableError
from tests.fakes.signature_mirror import payload

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "handlers.scan.signatures")
DEADLINE = 60.0


@dataclass(slots=True)
class RunningScanner:
    """A running scanner, whose log lines are kept."""

    address: Address
    lines: list[Mapping[str, Any]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, line: Mapping[str, Any]) -> None:
        self.lines.append(line)
        self._news.set()

    async def until(self, event: str, count: int = 1) -> Mapping[str, Any]:
        """Wait for the line with this event; the `count`-th one."""
        async with asyncio.timeout(DEADLINE):
            while len(found := [line for line in self.lines if line["event"] == event]) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    async def verdict(self, content: bytes = b"harmless") -> Verdict:
        """Return its verdict once something answers."""
        async with asyncio.timeout(DEADLINE):
            while True:
                with suppress(UnavailableError):
                    return read_reply(await instream(self.address, source_of(content))).verdict
                await asyncio.sleep(0.05)

    async def versions(self) -> set[int]:
        """Return the versions of the test database that clamd has loaded."""
        assert await self.verdict() is Verdict.CLEAN
        return {version for version in (1, 2) if await self.verdict(payload(version)) is Verdict.INFECTED}


def configure(folder: Path) -> tuple[dict[str, Any], Sequence[str]]:
    """Write a clamd.conf with a unix socket below `folder`; return the settings, and the command that starts clamd."""
    volume, socket = folder / "volume", folder / "s"
    volume.mkdir(exist_ok=True)
    configuration = folder / "clamd.conf"
    configuration.write_text(
        f"Foreground yes\nDatabaseDirectory {volume}/current\nLocalSocket {socket}\nTemporaryDirectory {folder}\n"
        "ConcurrentDatabaseReload yes\nSelfCheck 0\nAlertExceedsMax yes\n"
    )
    own = {"clamd": f"unix:{socket}", "signatures_folder": str(volume), "signatures_interval": "1"}
    return own, ["clamd", f"--config-file={configuration}"]


@asynccontextmanager
async def scanner(folder: Path, **settings: Any) -> AsyncIterator[RunningScanner]:
    """Do what `serve` does, with a real clamd; its volume is `folder/volume`."""
    own, command = configure(folder)
    chosen = ScannerSettings(**own, **settings)
    running = RunningScanner(Address.parse(chosen.clamd))

    def hear(_logger: Any, _method: str, line: Any) -> Any:
        running.hear(dict(line))
        return line

    with capture_logs(processors=[hear]):
        keeping = asyncio.create_task(keep(chosen, command))
        try:
            yield running
            assert not keeping.done(), keeping
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})


@asynccontextmanager
async def scanner_program(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[RunningScanner]:
    """Run `serve`."""
    own, command = configure(folder)
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        *command,
        cwd=ROOT,
        env={**environment, **{f"MEDIA_{name.upper()}": value for name, value in own.items()}},
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    running = RunningScanner(Address.parse(own["clamd"]))

    async def read() -> None:
        assert process.stdout
        while line := await process.stdout.readline():
            running.hear(json.loads(line))

    reading = asyncio.create_task(read())
    try:
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(DEADLINE):
            assert await process.wait() == 0
            await reading


async def mirror_program(folder: Path, environment: Mapping[str, str]) -> tuple[int, list[dict[str, Any]]]:
    """Run `mirror` in this volume; return its exit status and log lines."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "mirror",
        cwd=ROOT,
        env={**environment, "MEDIA_SIGNATURES_FOLDER": str(folder)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in output.splitlines()]
