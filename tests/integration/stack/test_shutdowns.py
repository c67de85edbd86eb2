"""Assets survive every kind of shutdown of the stack."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from deploy.local import process, tokens
from deploy.local.api_client import ApiClient
from deploy.local.state import LastShutdown, State
from tests.integration.stack.serving import (
    COMMAND,
    ROOT,
    START_DEADLINE,
    STOP_DEADLINE,
    Serving,
    environment,
    serving,
    serving_on_terminal,
)

SIGHUP_BIT = 1 << (signal.SIGHUP - 1)


class UploadedPhotos:
    """Uploaded photos, with the bytes of their renditions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytes: dict[str, dict[str, bytes]] = {}

    async def add(self, serve: Serving) -> None:
        photo = self._folder / f"{len(self._bytes)}.png"
        content = BytesIO()
        Image.new("RGB", (64, 48), (len(self._bytes) * 20, 99, 0)).save(content, "PNG")
        photo.write_bytes(content.getvalue())
        secret = serve.state.secrets().jwt_secret
        (result,) = await process.process(process.ProcessRequest([photo]), serve.running, secret, lambda *_: None)
        assert result.status == "ready", result
        assert result.asset_id
        self._bytes[result.asset_id] = await _renditions(serve, result.asset_id)

    async def check(self, serve: Serving) -> None:
        for asset_id, renditions in self._bytes.items():
            assert await _renditions(serve, asset_id) == renditions


async def _renditions(serve: Serving, asset_id: str) -> dict[str, bytes]:
    token = tokens.mint(serve.state.secrets().jwt_secret, user=process.USER, role="user")
    async with aiohttp.ClientSession() as http:
        api = ApiClient(http, serve.running.api_url, token)
        asset = await api.asset(asset_id)
        assert asset.status == "ready"
        urls = {rendition.name: await api.url(asset_id, rendition.name) for rendition in asset.renditions}
        return {name: await (await http.get(url, raise_for_status=True)).read() for name, url in urls.items()}


@pytest.mark.timeout(400)  # six starts
async def test_assets_survive_every_shutdown_and_kill(tmp_path: Path) -> None:
    photos, state = UploadedPhotos(tmp_path), tmp_path / "state"

    async with serving_on_terminal(state) as (serve, terminal):
        await photos.add(serve)
        terminal.close()  # sends SIGHUP, and every further write fails
        assert await serve.wait_for_exit() == 0

    async with serving(state, prefix=["nohup"]) as serve:
        await photos.check(serve)
        await photos.add(serve)
        assert _ignores_sighup(serve.process.pid), "nohup is meant to outlive its terminal"
        serve.process.send_signal(signal.SIGTERM)
        assert await serve.wait_for_exit() == 0

    async with serving(state, MEDIA_API_DRAIN_DELAY="100", MEDIA_DRAIN_TIMEOUT="90") as serve:
        await photos.check(serve)
        await photos.add(serve)
        serve.process.send_signal(signal.SIGINT)
        await serve.wait_until_stopping()
        serve.process.send_signal(signal.SIGINT)  # in the middle of the drain
        assert await serve.wait_for_exit() == 0

    async with serving(state) as serve:
        assert "the last stop was not clean" not in "".join(serve.output)
        await photos.check(serve)
        await photos.add(serve)
        serve.process.kill()
        await serve.wait_for_exit()
        assert serve.state.running() is None

    async with serving(state) as serve:  # at once, while the parts of the killed stack still save
        assert "stored data is kept" in "".join(serve.output)
        await photos.check(serve)
        await photos.add(serve)
        await _wait_until_saved(serve.state.emulator / "saved")
        await _kill_all(serve.process)

    async with serving(state) as serve:
        assert "stored data is kept" in "".join(serve.output)
        await photos.check(serve)
        await photos.add(serve)
        serve.process.send_signal(signal.SIGINT)
        assert await serve.wait_for_exit() == 0
    assert State(state).begin() is LastShutdown.CLEAN


async def _wait_until_saved(mark: Path) -> None:
    """Wait until the emulator has begun and finished a save of its current state."""
    async with asyncio.timeout(START_DEADLINE):
        for _ in range(2):
            last = _modified(mark)
            while _modified(mark) == last:  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(0.05)


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _ignores_sighup(pid: int) -> bool:
    ignored = Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0]
    return bool(int(ignored, 16) & SIGHUP_BIT)


async def _kill_all(parent: asyncio.subprocess.Process) -> None:
    """Kill all processes as a container engine does, so that no part can save anything."""
    parent.send_signal(signal.SIGSTOP)
    for pid in _descendants(parent.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    parent.kill()
    await parent.wait()


def _descendants(pid: int) -> list[int]:
    children = [
        int(child) for listed in Path(f"/proc/{pid}/task").glob("*/children") for child in listed.read_text().split()
    ]
    return children + [deeper for child in children for deeper in _descendants(child)]


async def test_the_command_that_sends_files_drains_when_its_terminal_is_closed(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    async with _running_process(state, tmp_path) as sending:
        async with asyncio.timeout(START_DEADLINE):
            while state.running() is None:  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(0.02)
        sending.send_signal(signal.SIGHUP)
        async with asyncio.timeout(STOP_DEADLINE):
            assert await sending.wait() == 130
    assert state.begin() is LastShutdown.CLEAN


@contextlib.asynccontextmanager
async def _running_process(state: State, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a `process` command that starts its own stack."""
    photo = folder / "photo.png"
    Image.new("RGB", (64, 48)).save(photo)
    sending = await asyncio.create_subprocess_exec(
        *COMMAND, "process", str(photo), cwd=ROOT, env=environment(state.root)
    )
    try:
        yield sending
    finally:
        with contextlib.suppress(ProcessLookupError):
            sending.kill()
