"""`python -m api` as a process: settings, signals, connections, logs."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.local.ports import free_port
from media.aws.clients import Clients
from media.settings import variable
from tests.conftest import Database, EmulatedAws
from tests.fakes.http_proxy import forward_proxy
from tests.integration.api.conftest import SECRET, settings_of
from tests.unit.api.security.tokens import RSA_KEY, jwk_of

DEADLINE = 20.0


async def run(environment: dict[str, str], module: str = "api") -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=environment, stdout=PIPE, stderr=PIPE)


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


async def test_wrong_settings_are_all_named_with_status_2() -> None:
    process = await run({"PATH": os.environ["PATH"], "MEDIA_JWT_SECRET": "short"})
    async with asyncio.timeout(DEADLINE):
        _, said = await process.communicate()
    assert process.returncode == 2
    for name in ("MEDIA_DATABASE_URL", "OUTPUT_BUCKET", "MEDIA_UPLOADS_QUEUE_URL", "MEDIA_JWT_SECRET"):
        assert name.encode() in said
    assert b"Traceback" not in said


async def test_database_without_the_schema_is_refused_with_status_1(emulator: EmulatedAws, postgres: Database) -> None:
    environment = environment_of(emulator, postgres, free_port())
    environment["MEDIA_DATABASE_URL"] = postgres.dsn.rpartition("/")[0] + "/postgres"
    process = await run(environment)
    async with asyncio.timeout(DEADLINE):
        _, said = await process.communicate()
    assert process.returncode == 1
    assert b"media.schema apply" in said
    assert b"Traceback" not in said


async def test_api_serves_until_sigterm(emulator: EmulatedAws, postgres: Database) -> None:
    async with serving(emulator, postgres) as (process, url), aiohttp.ClientSession(url) as http:
        async with http.get("/health") as answer:
            body: Any = await answer.json()
            assert body == {"status": "ok", "service": "media"}
        async with http.get("/readyz") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            assert await process.wait() == 0


async def test_api_is_ready_once_it_fetched_keys_through_the_proxy(emulator: EmulatedAws, postgres: Database) -> None:
    async def keys(_request: web.Request) -> web.Response:
        return web.json_response({"keys": [jwk_of(RSA_KEY, "a")]})

    identity = web.Application()
    identity.router.add_get("/keys", keys)
    async with TestServer(identity) as server, forward_proxy(server.port) as proxy:
        given = {"MEDIA_JWT_SECRET": "", "MEDIA_CALLBACK_SECRET": SECRET, "HTTP_PROXY": proxy.url}
        url = {"MEDIA_JWT_JWKS_URL": "http://identity.invalid/keys"}
        near = {"NO_PROXY": "identity.invalid"}
        async with (
            serving(emulator, postgres, **given, **url, **near) as (_, base),
            aiohttp.ClientSession(base) as http,
        ):
            async with http.get("/readyz") as answer:
                problem = await answer.json()
            assert (answer.status, problem["code"]) == (503, "unavailable")
            assert "keys" in problem["detail"]
            async with http.get("/livez") as answer:
                assert answer.status == 200
        assert not proxy.asked
        async with serving(emulator, postgres, **given, **url) as (_, base), aiohttp.ClientSession(base) as http:
            for _ in range(2):
                async with http.get("/readyz") as answer:
                    assert answer.status == 200
        assert proxy.asked == ["GET http://identity.invalid/keys"]


@pytest.mark.parametrize("module", ["api", "consumer"])
async def test_unversioned_bucket_is_refused_with_status_2(
    emulator: EmulatedAws, postgres: Database, module: str
) -> None:
    environment = environment_of(emulator, postgres, free_port()) | {
        "OUTPUT_BUCKET": f"unversioned-{module}",
        "MEDIA_CONSUMER_PORT": "0",
        "MEDIACONVERT_ROLE_ARN": "arn:aws:iam::000000000000:role/mediaconvert",
    }
    location = {"LocationConstraint": emulator.region}
    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in emulator.client_env.items():
                patch.setenv(name, value)
            s3 = await Clients(settings_of(emulator, postgres), stack).s3()
            await s3.create_bucket(Bucket=environment["OUTPUT_BUCKET"], CreateBucketConfiguration=location)
    process = await run(environment, module)
    async with asyncio.timeout(DEADLINE):
        _, said = await process.communicate()
    assert process.returncode == 2
    assert b"is not versioned" in said
    assert b"Traceback" not in said


async def test_api_starts_without_s3_and_says_so(emulator: EmulatedAws, postgres: Database) -> None:
    away = "http://127.0.0.1:9"
    async with serving(emulator, postgres, AWS_ENDPOINT_URL=away) as (_, url), aiohttp.ClientSession(url) as http:
        async with http.get("/livez") as answer:
            assert answer.status == 200
        async with http.get("/readyz") as answer:
            problem = await answer.json()
        assert (answer.status, problem["code"]) == (503, "unavailable")
        assert {"S3", "SQS"} <= set(problem["detail"].split())
        assert "Postgres" not in problem["detail"]


async def test_draining_api_serves_until_a_second_signal(emulator: EmulatedAws, postgres: Database) -> None:
    async with (
        serving(emulator, postgres, MEDIA_API_DRAIN_DELAY="100") as (process, url),
        aiohttp.ClientSession(url) as http,
    ):
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            while True:  # each request lets the loop run
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
async def test_idle_connection_is_closed(emulator: EmulatedAws, postgres: Database, said: bytes) -> None:
    async with serving(emulator, postgres, MEDIA_API_KEEPALIVE_TIMEOUT="0.5") as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(said)
        async with asyncio.timeout(DEADLINE):
            assert await reader.read() == b""
        writer.close()


async def send_unread(url: str, paths: bytes) -> socket.socket:
    """Open a connection with a tiny receive window and send requests. Nothing is read yet."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # loopback's would be larger than the window
    await loop.sock_connect(client, ("127.0.0.1", int(url.rpartition(":")[2])))
    await loop.sock_sendall(client, paths)
    return client


HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
UNFINISHED = (
    b"POST /api/v1/internal/media/callback/image HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
)
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


async def wait_for_metrics(http: aiohttp.ClientSession, *lines: str) -> None:
    """Wait until the metrics contain all these lines."""
    async with asyncio.timeout(DEADLINE):
        while True:  # each request lets the loop run
            async with http.get("/metrics") as answer:
                said = (await answer.text()).splitlines()
            if all(line in said for line in lines):
                return


async def test_connections_whose_responses_are_not_read_are_cut(emulator: EmulatedAws, postgres: Database) -> None:
    async with (
        serving(emulator, postgres, MEDIA_API_SEND_TIMEOUT="0.5") as (_, url),
        aiohttp.ClientSession(url) as http,
    ):
        unread = [await send_unread(url, LARGE * 40) for _ in range(5)]
        await wait_for_metrics(
            http, 'media_http_connections_cut_total{reason="stuck"} 5.0', "media_http_connections 1.0"
        )
        for client in unread:
            with pytest.raises(ConnectionResetError):
                await read_all(client)
            client.close()


async def test_number_of_unread_responses_is_limited(emulator: EmulatedAws, postgres: Database) -> None:
    async with (
        serving(emulator, postgres, MEDIA_API_CONNECTIONS="24") as (_, url),
        aiohttp.ClientSession(url) as http,
    ):
        unread = [await send_unread(url, LARGE * 40) for _ in range(5)]
        await wait_for_metrics(
            http, 'media_http_connections_cut_total{reason="crowd"} 2.0', "media_http_connections 4.0"
        )
        for client in unread:
            client.close()


async def read_all(client: socket.socket) -> bytes:
    received = bytearray()
    while piece := await asyncio.get_running_loop().sock_recv(client, 65536):
        received += piece
    return bytes(received)


async def test_slowly_read_response_is_sent_to_its_end(emulator: EmulatedAws, postgres: Database) -> None:
    timeout = 0.5
    async with (
        serving(emulator, postgres, MEDIA_API_SEND_TIMEOUT=str(timeout)) as (_, url),
        aiohttp.ClientSession(url) as http,
    ):
        loop = asyncio.get_running_loop()
        client = await send_unread(url, LARGE * 11 + LARGE.replace(b"Host", b"Connection: close\r\nHost"))
        begun, received = loop.time(), bytearray()
        async with asyncio.timeout(DEADLINE):
            while piece := await loop.sock_recv(client, 512 if loop.time() < begun + 4 * timeout else 65536):
                received += piece
                async with http.get("/livez"):  # takes the place of a slow network's delay
                    pass
        assert loop.time() > begun + 2 * timeout
        assert received.count(b"HTTP/1.1 200 OK") == 12
        client.close()


async def test_number_of_connections_is_limited_and_slots_are_released(
    emulator: EmulatedAws, postgres: Database
) -> None:
    async with serving(emulator, postgres, MEDIA_API_CONNECTIONS="2") as (_, url):
        within = [await send_unread(url, UNFINISHED) for _ in range(2)]
        for client in within:
            assert b" 100 " in await asyncio.get_running_loop().sock_recv(client, 512)
        assert await begin_response(url) == b""
        within[0].close()
        async with asyncio.timeout(DEADLINE):
            while b"200 OK" not in await begin_response(url):
                pass  # each request lets the loop run
        within[1].close()


async def test_idle_connections_of_one_address_shut_nobody_out(emulator: EmulatedAws, postgres: Database) -> None:
    async with serving(emulator, postgres, MEDIA_API_CONNECTIONS="40") as (_, url):
        port = int(url.rpartition(":")[2])
        other = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        flood = [await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.3", 0)) for _ in range(100)]
        for _, writer in flood:
            writer.write(HEALTH[:20])
        for _ in range(3):
            assert b"200 OK" in await begin_response(url)
        other[1].write(HEALTH)
        head = await other[0].readuntil(b"\r\n\r\n")
        assert b"Server: media\r\n" in head
        async with aiohttp.ClientSession(url) as http:
            await wait_for_metrics(http, 'media_http_connections_cut_total{reason="idle"} 90.0')
        async with asyncio.timeout(DEADLINE):
            for reader, _ in flood[:90]:  # They are closed, not only counted; with a reset where bytes came too late.
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
        for _, writer in [other, *flood]:
            writer.close()


async def begin_response(url: str) -> bytes:
    """Return the beginning of a response, or nothing when the connection is refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        writer.write(HEALTH)
        return await reader.read(512)
    except ConnectionError:
        return b""
    finally:
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
        lines = [json.loads(line) for line in out.splitlines()]
        assert {"api.server"} <= {line.get("logger") for line in lines}, "the server's own lines are JSON too"
