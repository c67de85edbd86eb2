"""The command `serve`: it runs until it is stopped, and restarts a killed scanner."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.integration.stack.serving import COMMAND, ROOT, START_DEADLINE, STOP_DEADLINE, serving


async def test_a_stack_serves_until_it_is_stopped(tmp_path: Path) -> None:
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
            *(*COMMAND, "stop"),
            cwd=ROOT,
            env={**os.environ, "MEDIA_LOCAL_STATE": str(serve.state.root)},
        )
        async with asyncio.timeout(STOP_DEADLINE):
            assert await stop.wait() == 0
            assert await serve.process.wait() == 0
    assert not serve.state.is_held()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no /proc to find it in")
async def test_a_killed_scanner_is_restarted(tmp_path: Path) -> None:
    async with serving(tmp_path / "state") as serve:
        (clamd,) = _processes(b"clamd", bytes(serve.state.clamav))
        os.kill(clamd, signal.SIGKILL)
        await serve.wait_for_output("clamd is restarted")
        async with asyncio.timeout(START_DEADLINE):
            while not _processes(b"clamd", bytes(serve.state.clamav)):  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(0.05)
        assert serve.state.running() is not None


def _processes(*words: bytes) -> list[int]:
    """Return the pids of processes whose command line has all the words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            line = path.read_bytes()
            found += [int(path.parent.name)] if all(word in line for word in words) else []
    return found
