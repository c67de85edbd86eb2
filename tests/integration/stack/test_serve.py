"""`serve` from the outside: it runs until it is stopped, and a stack that was killed leaves nothing to stumble over."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from deploy.local.ports import free_port
from deploy.local.state import State

ROOT = Path(__file__).parents[3]
START_DEADLINE = 60.0
STOP_DEADLINE = 40.0


class Serving:
    """A `serve` as a child process; `told` is what it said so far."""

    def __init__(self, process: asyncio.subprocess.Process, state: Path) -> None:
        self.process = process
        self.state = State(state)
        self.told: list[str] = []

    async def until_told(self, word: str) -> None:
        assert self.process.stderr is not None
        async with asyncio.timeout(START_DEADLINE):
            while word not in "".join(self.told):
                line = await self.process.stderr.readline()
                assert line, f"ended, having said: {''.join(self.told)}"
                self.told.append(line.decode())


@contextlib.asynccontextmanager
async def serving(state: Path) -> AsyncIterator[Serving]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIA_", "AWS_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.local", "serve"),
        cwd=ROOT,
        env={**kept, "MEDIA_LOCAL_STATE": str(state), "MEDIA_API_PORT": str(free_port())},
        stderr=asyncio.subprocess.PIPE,
    )
    serving = Serving(process, state)
    try:
        await serving.until_told("ready after")
        yield serving
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_DEADLINE):
            await process.wait()


async def test_it_serves_until_it_is_stopped(tmp_path: Path) -> None:
    async with serving(tmp_path / "state") as serve:
        running = serve.state.running()
        assert running is not None
        assert running.pid == serve.process.pid
        async with aiohttp.ClientSession() as http:
            health = await (await http.get(f"{running.api_url}/health")).json()
            page = await http.get(f"{running.api_url}/")
        assert health == {"status": "ok", "service": "media"}
        assert page.content_type == "text/html"
        stop = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.local", "stop"),
            cwd=ROOT,
            env={**os.environ, "MEDIA_LOCAL_STATE": str(serve.state.root)},
        )
        async with asyncio.timeout(STOP_DEADLINE):
            assert await stop.wait() == 0
            assert await serve.process.wait() == 0
    assert not serve.state.is_held()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no /proc to find it in")
async def test_a_killed_scanner_is_started_again(tmp_path: Path) -> None:
    async with serving(tmp_path / "state") as serve:
        (clamd,) = _processes(b"clamd", bytes(serve.state.clamav))
        os.kill(clamd, signal.SIGKILL)
        await serve.until_told("clamd is started again")
        async with asyncio.timeout(START_DEADLINE):
            while not _processes(b"clamd", bytes(serve.state.clamav)):  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(0.05)
        assert serve.state.running() is not None


def _processes(*words: bytes) -> list[int]:
    """Those whose command line has all the words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            line = path.read_bytes()
            found += [int(path.parent.name)] if all(word in line for word in words) else []
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere children outlive a killed parent")
async def test_after_a_kill_it_says_so_and_begins_anew(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with serving(state) as serve:
        serve.process.kill()
        await serve.process.wait()
    assert serve.state.running() is None
    async with serving(state) as serve:
        assert "not a clean one" in "".join(serve.told)
    async with serving(state) as serve:
        assert "not a clean one" not in "".join(serve.told)
