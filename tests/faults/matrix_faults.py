"""The faults of S3, SQS, clamd, MediaConvert and the credentials' source, for the matrix. Postgres' are beside it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

from aiohttp import web

from deploy.local.emulator import ACCESS_KEY, SECRET_KEY
from tests.faults.fault_proxies import (
    HOST,
    LATIN_1,
    Answer,
    Fault,
    HttpFaults,
    TcpProxy,
    hang_up,
    http_answer,
    tcp_proxy,
)

FLAP = 0.7
"""Seconds for which a dependency that comes and goes is there, or is away."""
SLOW_HTTP, SLOW_TCP = 1.0, 0.3
"""Seconds for each request of S3 and SQS, and for each piece of another's connection."""
WRITES = {"s3": ("PUT", "POST", "DELETE"), "sqs": ("SendMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")}
"""What a role that may only read is refused."""
LIFETIME = timedelta(minutes=10, seconds=2)
"""Botocore refreshes credentials ten minutes before their end at the latest: so every two seconds."""

type Proxy = HttpFaults | TcpProxy
type MakeFault = Callable[[Proxy], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _set(proxy: Proxy, fault: Fault) -> AsyncIterator[None]:
    proxy.fault = fault
    try:
        yield
    finally:
        proxy.fault = Fault.NONE


@asynccontextmanager
async def slow(proxy: Proxy) -> AsyncIterator[None]:
    proxy.delay = SLOW_HTTP if isinstance(proxy, HttpFaults) else SLOW_TCP
    try:
        yield
    finally:
        proxy.delay = 0.0


@asynccontextmanager
async def flapping(proxy: Proxy) -> AsyncIterator[None]:
    async def flap() -> None:
        while True:
            for fault in (Fault.CUT, Fault.NONE):
                proxy.fault = fault
                await asyncio.sleep(FLAP)

    task = asyncio.create_task(flap())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        proxy.fault = Fault.NONE


def fails(fault: Fault) -> MakeFault:
    return lambda proxy: _set(proxy, fault)


def answers(answer: Answer) -> MakeFault:
    """Have another answer in the place of the service."""

    @asynccontextmanager
    async def make(proxy: Proxy) -> AsyncIterator[None]:
        assert isinstance(proxy, TcpProxy)
        proxy.answer = answer
        try:
            async with _set(proxy, Fault.ANSWERS):
                yield
        finally:
            proxy.answer = hang_up

    return make


def read_only(dependency: str) -> MakeFault:
    """Refuse what writes, as a policy does."""

    @asynccontextmanager
    async def make(proxy: Proxy) -> AsyncIterator[None]:
        assert isinstance(proxy, HttpFaults)
        proxy.only = WRITES[dependency]
        try:
            async with _set(proxy, Fault.REFUSED):
                yield
        finally:
            proxy.only = ()

    return make


@asynccontextmanager
async def no_new_jobs(proxy: Proxy) -> AsyncIterator[None]:
    """Refuse to create jobs, and list them."""
    assert isinstance(proxy, TcpProxy)
    proxy.refuse = (b"POST", refusal("403 Forbidden", "AccessDeniedException"))
    try:
        yield
    finally:
        proxy.refuse = None


def refusal(status: str, code: str) -> Answer:
    return http_answer(status, "application/json", json.dumps({"Code": code, "Message": "by a test"}).encode())


async def full_disk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a clamd that cannot write the stream to its disk."""
    command = await reader.readuntil(b"\0")
    replies = {b"zPING\0": b"PONG\0", b"zVERSION\0": b"ClamAV 1.4.2/27500/Mon Jan  5 10:00:00 2026\0"}
    writer.write(replies.get(command, b"INSTREAM: Can't write to temporary file. ERROR\0"))


ODD_PAGE = http_answer(f"{LATIN_1[0]} Forbidden", LATIN_1[1], LATIN_1[2])
EXPIRED = http_answer(
    "200 OK",
    "application/json",
    json.dumps(
        {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": "t", "Expiration": "2020-01-01T00:00:00Z"}
    ).encode(),
)
"""Credentials that have expired when they come."""


async def web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a web server does to what the clients of clamd and of Postgres send."""
    await reader.read(8)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>\xe4</html>")


EVERY: dict[str, MakeFault] = {
    "down": fails(Fault.CUT),
    "slow": slow,
    "black hole": fails(Fault.BLACK_HOLE),
    "flapping": flapping,
}
"""What every network does."""
FAULTS: dict[str, dict[str, MakeFault]] = {
    "s3": EVERY
    | {
        "refuses": fails(Fault.REFUSED),
        "read-only": read_only("s3"),
        "wrong answers": fails(Fault.ANSWERS),
        "full": fails(Fault.THROTTLED),
    },
    "sqs": EVERY
    | {
        "refuses": fails(Fault.REFUSED),
        "read-only": read_only("sqs"),
        "wrong answers": fails(Fault.ANSWERS),
        "full": fails(Fault.THROTTLED),
    },
    "clamd": EVERY | {"wrong answers": answers(web_server), "full": answers(full_disk)},
    "mediaconvert": EVERY
    | {
        "refuses": answers(refusal("403 Forbidden", "AccessDeniedException")),
        "read-only": no_new_jobs,
        "wrong answers": answers(ODD_PAGE),
        "full": answers(refusal("429 Too Many Requests", "TooManyRequestsException")),
    },
    "credentials": EVERY
    | {
        "refuses": answers(refusal("403 Forbidden", "AccessDeniedException")),
        "wrong answers": answers(EXPIRED),
    },
}


@asynccontextmanager
async def credentials_source() -> AsyncIterator[tuple[TcpProxy, str]]:
    """Serve credentials as ECS does to a task, behind a proxy; yield it and its address."""

    async def give(_: web.Request) -> web.Response:
        ends = datetime.now(UTC) + LIFETIME
        # Without a token, which the emulator refuses in presigned URLs.
        document = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": ""}
        return web.json_response(document | {"Expiration": ends.isoformat()})

    app = web.Application()
    app.router.add_get("/", give)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        port = runner.addresses[0][1]
        async with tcp_proxy(lambda: asyncio.open_connection(HOST, port)) as (proxy, proxied):
            yield proxy, f"http://{HOST}:{proxied}/"
    finally:
        await runner.cleanup()
