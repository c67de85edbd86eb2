"""An emulator and an endpoint for these tests, as child processes on free ports."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[3]
REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
START_TIMEOUT = 20.0
STOP_TIMEOUT = 15.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A child process that answers at `/health` once it is up."""

    argv: list[str]
    port: int
    environment: dict[str, str]
    log: Path
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.argv,
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        async with asyncio.timeout(START_TIMEOUT), aiohttp.ClientSession() as http:
            while not await self._answers(http):
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.05)

    async def _answers(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self.url}/health") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def encoders(self) -> list[int]:
        """Wait for ffmpeg children of this server; return their process ids."""
        assert self.process is not None
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                pgrep = await asyncio.create_subprocess_exec(
                    "pgrep", "-x", "-P", str(self.process.pid), "ffmpeg", stdout=asyncio.subprocess.PIPE
                )
                found, _ = await pgrep.communicate()
                if found:
                    return [int(pid) for pid in found.split()]
                await asyncio.sleep(0.02)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            os.kill(self.process.pid, number)
        async with asyncio.timeout(STOP_TIMEOUT):
            return await self.process.wait()


def _environment(**more: str) -> dict[str, str]:
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**plain, **CREDENTIALS, **more}


def emulator(folder: Path) -> Server:
    port = free_port()
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "AUTH": "true",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "emulator"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "objects"),
        "MINISTACK_REGION": REGION,
    }
    return Server(["-m", "ministack"], port, _environment(**settings), folder / "emulator.log")


def endpoint(folder: Path, emulator_url: str, *more: str) -> Server:
    port = free_port()
    argv = ["-m", "deploy.local.mediaconvert", "--port", str(port), "--state", str(folder / "state"), *more]
    return Server(argv, port, _environment(AWS_ENDPOINT_URL=emulator_url), folder / "endpoint.log")


async def gone(pids: list[int]) -> None:
    """Wait until none of these processes runs any more. Raises TimeoutError."""
    async with asyncio.timeout(STOP_TIMEOUT):
        while any(map(_runs, pids)):  # noqa: ASYNC110 - processes that are not our children set no event
            await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Orphans of a killed endpoint may stay zombies until init reaps them.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
