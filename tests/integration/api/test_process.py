"""`python -m api` as the operator sees it."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from deploy.local.ports import free_port
from media.settings import variable
from tests.conftest import Database, EmulatedAws
from tests.integration.api.conftest import SECRET, settings_of

DEADLINE = 20.0


async def run(environment: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", env=environment, stdout=PIPE, stderr=PIPE
    )  # fmt: skip


def environment_of(emulator: EmulatedAws, database: Database, port: int) -> dict[str, str]:
    settings = settings_of(emulator, database)
    names = ["database_url", "output_bucket", *(f"{name.replace('-', '_')}_queue_url" for name in settings.queues)]
    given = {variable(name): str(getattr(settings, name)) for name in names}
    own = {"MEDIA_JWT_SECRET": SECRET, "MEDIA_API_PORT": str(port), "MEDIA_API_HOST": "127.0.0.1"}
    quick = {"MEDIA_API_DRAIN_DELAY": "0"}
    return {"PATH": os.environ["PATH"]} | dict(emulator.client_env) | given | own | quick


@contextlib.asynccontextmanager
async def serving(emulator: EmulatedAws, database: Database, **more: str) -> AsyncIterator[tuple[Process, str]]:
    port = free_port()
    process = await run(environment_of(emulator, database, port) | more)
    try:
        async with asyncio.timeout(DEADLINE):
            assert process.stdout
            async for line in process.stdout:
                if b"api.serving" in line:
                    break
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_says_everything_that_is_missing_and_ends_with_2() -> None:
    process = await run({"PATH": os.environ["PATH"], "MEDIA_JWT_SECRET": "short"})
    async with asyncio.timeout(DEADLINE):
        _, said = await process.communicate()
    assert process.returncode == 2
    for name in ("MEDIA_DATABASE_URL", "OUTPUT_BUCKET", "MEDIA_UPLOADS_QUEUE_URL", "MEDIA_JWT_SECRET"):
        assert name.encode() in said
    assert b"Traceback" not in said


async def test_it_refuses_a_database_without_the_schema(emulator: EmulatedAws, postgres: Database) -> None:
    environment = environment_of(emulator, postgres, free_port())
    environment["MEDIA_DATABASE_URL"] = postgres.dsn.rpartition("/")[0] + "/postgres"
    process = await run(environment)
    async with asyncio.timeout(DEADLINE):
        _, said = await process.communicate()
    assert process.returncode == 1
    assert b"media.schema apply" in said
    assert b"Traceback" not in said


async def test_it_serves_until_sigterm(emulator: EmulatedAws, postgres: Database) -> None:
    async with serving(emulator, postgres) as (process, url), aiohttp.ClientSession(url) as http:
        async with http.get("/health") as answer:
            body: Any = await answer.json()
            assert body == {"status": "ok", "service": "media"}
        async with http.get("/readyz") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            assert await process.wait() == 0


async def test_told_to_stop_it_is_not_ready_yet_serves_on_and_a_second_signal_ends_it(
    emulator: EmulatedAws, postgres: Database
) -> None:
    async with (
        serving(emulator, postgres, MEDIA_API_DRAIN_DELAY="100") as (process, url),
        aiohttp.ClientSession(url) as http,
    ):
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            while True:  # each look is a request: the loop waits by itself
                async with http.get("/readyz") as answer:
                    if answer.status == 503:
                        break
        async with http.get("/health") as answer:
            assert answer.status == 200
            assert answer.headers["Connection"] == "close"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            assert await process.wait() == 0


@pytest.mark.parametrize("said", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Half: "])
async def test_a_connection_whose_request_does_not_come_is_ended(
    emulator: EmulatedAws, postgres: Database, said: bytes
) -> None:
    async with serving(emulator, postgres, MEDIA_API_KEEPALIVE_TIMEOUT="0.5") as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(said)
        async with asyncio.timeout(DEADLINE):
            assert await reader.read() == b""
        writer.close()


async def test_no_token_reaches_the_log(emulator: EmulatedAws, postgres: Database) -> None:
    async with serving(emulator, postgres) as (process, url):
        async with aiohttp.ClientSession(url) as http:
            path = "/api/v1/media/assets/00000000-0000-4000-8000-000000000000/hls/master.m3u8?token=1.sesame"
            async with http.get(path, headers={"Authorization": "Bearer sesame.sesame.sesame"}) as answer:
                assert answer.status == 401
        for line in (
            "GET /x?token=sesame HTTP/9.9",
            "BREW /x?token=sesame HTTP/1.1",
            "GET /x?token=sesame\x01 HTTP/1.1",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(f"{line}\r\nHost: x\r\nBad Header sesame\r\n\r\n".encode())
            async with asyncio.timeout(DEADLINE):
                assert (await reader.read()).startswith(b"HTTP/1.0 400")
            writer.close()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate()
        assert b"api.request" in out
        assert b"sesame" not in out + err
