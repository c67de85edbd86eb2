"""The command `process` with files that change meanwhile: each fails at once, and is never stored in part."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.local.process import FileResult, ProcessRequest, process
from deploy.local.state import Running

SIZE = 64 << 20
"""Bytes; more than a connection holds, so that the file is still being read when its first bytes arrive."""
RESULT_DEADLINE = 20.0
"""Seconds for a result. A silent connection would end only after 120."""

Change = Callable[[Path], None]


def shrink(path: Path) -> None:
    os.truncate(path, 1 << 20)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")


@contextlib.asynccontextmanager
async def storage(path: Path, change: Change) -> AsyncIterator[tuple[Running, list[str]]]:
    """Run an API and an S3 that change the file when its first bytes arrive; yield the keys that were stored whole."""
    stored: list[str] = []

    async def slot(request: web.Request) -> web.Response:
        url = str(request.url.with_path("/bucket/key"))
        return web.json_response({"asset_id": "1", "upload_url": url, "headers": {}}, status=201)

    async def put(request: web.Request) -> web.Response:
        await request.content.readany()
        change(path)
        with contextlib.suppress(OSError):
            await request.content.read()
            stored.append(request.path)
        return web.Response()

    app = web.Application(client_max_size=SIZE * 2)
    app.router.add_post("/api/v1/media/upload", slot)
    app.router.add_put("/{bucket}/{key:.*}", put)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        settings = {"AWS_ENDPOINT_URL": url, "MEDIA_RECORDING_BUCKETS": "b", "MEDIA_RECORDINGS_QUEUE_URL": f"{url}/0/q"}
        yield Running(pid=os.getpid(), ports={}, api_url=url, settings=settings), stored


async def send(running: Running, *paths: Path, as_recording: bool = False) -> list[FileResult]:
    order = ProcessRequest(paths, as_recording=as_recording)
    async with asyncio.timeout(RESULT_DEADLINE):
        return await process(order, running, "s" * 32, lambda *_: None)


@pytest.mark.parametrize("as_recording", [False, True])
@pytest.mark.parametrize("change", [shrink, grow, overwrite])
async def test_a_file_that_changes_while_it_is_sent_fails(tmp_path: Path, change: Change, as_recording: bool) -> None:
    path = tmp_path / "clip.mp4"
    path.touch()
    os.truncate(path, SIZE)
    async with storage(path, change) as (running, stored):
        (result,) = await send(running, path, as_recording=as_recording)
    assert (result.status, result.code, stored) == ("failed", "SourceChangedError", [])
    assert "changed while it was sent" in (result.detail or "")


async def test_a_path_that_is_no_longer_a_file_fails(tmp_path: Path) -> None:
    vanished, folder, pipe = tmp_path / "vanished.jpg", tmp_path / "folder.jpg", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    async with storage(vanished, shrink) as (running, _):
        results = await send(running, vanished, folder, pipe)
    assert [(result.status, result.code) for result in results] == [
        ("failed", "FileNotFoundError"),
        ("failed", "IsADirectoryError"),
        ("failed", "OSError"),
    ]


async def test_a_nonempty_file_that_reports_size_zero_fails() -> None:
    async with storage(Path("/proc/cpuinfo"), lambda _: None) as (running, _):
        (result,) = await send(running, Path("/proc/cpuinfo"))
    assert (result.status, result.code) == ("failed", "SourceChangedError")


async def test_a_file_that_the_storage_refuses_fails_with_upload_failed(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"picture")

    def refuse(_: Path) -> None:
        raise web.HTTPBadRequest

    async with storage(path, refuse) as (running, _):
        (result,) = await send(running, path)
    assert (result.status, result.code) == ("failed", "upload_failed")
