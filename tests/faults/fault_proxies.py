"""Proxies that inject faults: a TCP relay for Postgres, clamd and MediaConvert, an HTTP proxy for S3 and SQS."""

import asyncio
import contextlib
import random
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

HOST = "127.0.0.1"
PIECE = 64 * 1024


class Fault(StrEnum):
    """What a proxy does to connections and requests."""

    NONE = "none"
    CUT = "cut"  # connections are closed, new ones included
    BLACK_HOLE = "black_hole"  # data is swallowed; such a connection never works again
    BROKEN = "broken"  # HTTP: 503
    THROTTLED = "throttled"  # HTTP: the service's own refusal for too many requests
    REFUSED = "refused"  # HTTP: 403, as a policy or a wrong key has it
    ANSWERS = "answers"  # TCP: connections are closed, new ones get `answer` and nothing else; HTTP: likewise `answer`


SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Answers a new connection in the place of the service."""


def refuse(sqlstate: str) -> Answer:
    """Answer as a Postgres that refuses every session for the reason of an SQLSTATE."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read(PIECE)
        if request == SSL_REQUEST:
            writer.write(b"N")
            await reader.read(PIECE)
        fields = b"SFATAL\0VFATAL\0C%s\0Mrefused by a test: %s\0\0" % ((sqlstate.encode(),) * 2)
        writer.write(b"E" + struct.pack("!i", len(fields) + 4) + fields)

    return answer


def http_answer(status: str, content_type: str, body: bytes) -> Answer:
    """Answer every connection's first request, whatever it asks."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()
        while await reader.read(PIECE):  # a close before all is read would be a reset, which loses the answer
            pass

    return answer


async def hang_up(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Answer nothing."""


class Gate:
    """Holds what comes to it while it is closed. `waiting` says how many wait."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.waiting = 0

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        self.waiting += 1
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1


class TcpProxy:
    """A TCP relay. A connection that is open when a fault begins does not survive it, as with a lost network."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._fault = Fault.NONE
        self._relays: set[asyncio.Task[None]] = set()
        self._holes: list[asyncio.StreamWriter] = []
        self.connections = 0
        self.answer: Answer = hang_up
        self.delay = 0.0
        self.gate = Gate()
        self.gated = b""
        """How requests begin that come to the gate."""
        self.refuse: tuple[bytes, Answer] | None = None
        """How requests begin that are refused while all others are served, and who answers them."""

    @property
    def fault(self) -> Fault:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        """A cut ends what is open; a black hole leaves it open and silent for ever."""
        self._fault = fault
        if fault is not Fault.NONE:
            for relay in self._relays:
                relay.cancel()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        self.connections += 1
        if self._fault is Fault.NONE:
            task = asyncio.create_task(self._relay(reader, writer))
            self._relays.add(task)
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._relays.discard(task)
        elif self._fault is Fault.ANSWERS:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self.answer(reader, writer)
        if self._fault is Fault.BLACK_HOLE:
            self._holes.append(writer)  # kept, or garbage collection would close it
        else:
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self._connect()
        except OSError:
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer, writer))
                group.create_task(self._pump(far_reader, writer))
        except* OSError:
            pass  # how every relay ends: one of the two sides has closed
        finally:
            far_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter | None = None
    ) -> None:
        """Relay one direction. Its end raises an error that ends the other direction too."""
        while piece := await reader.read(PIECE):
            await asyncio.sleep(self.delay)
            if client and piece.startswith(self.gated):
                await self.gate.passed()
            if client and self.refuse and piece.startswith(self.refuse[0]):
                reader.feed_data(b"\r\n\r\n")  # the answer reads to a head's end, and this one is read already
                await self.refuse[1](reader, client)
                break
            writer.write(piece)
            await writer.drain()
        raise ConnectionResetError

    def close(self) -> None:
        for writer in self._holes:
            writer.close()


@asynccontextmanager
async def tcp_proxy(connect: Callable[[], Any]) -> AsyncIterator[tuple[TcpProxy, int]]:
    """Serve a relay on a free port; yield it and the port."""
    proxy = TcpProxy(connect)
    server = await asyncio.start_server(proxy.accept, HOST, 0)
    try:
        yield proxy, int(server.sockets[0].getsockname()[1])
    finally:
        proxy.fault = Fault.CUT
        proxy.close()
        server.close()
        await server.wait_closed()


LATIN_1 = (403, "text/html", "<html>Zugriff verweigert f\xfcr alle</html>".encode("latin-1"))
"""The page of a proxy between us and the service."""


@dataclass(slots=True)
class HttpFaults:
    """The faults of one HTTP service. Shares are from 0 to 1; `seen` counts requests by queue and operation."""

    fault: Fault = Fault.NONE
    answer: tuple[int, str, bytes] = LATIN_1  # status, content type and body, for Fault.ANSWERS
    only: Collection[str] = ()
    """The operations of SQS, or methods of S3, that the fault meets; all when empty."""
    gate: Gate = field(default_factory=Gate)
    gated: str = ""
    """A part of the operation or method, with the queue or path, of the requests that come to the gate."""
    delay: float = 0.0
    duplicate: float = 0.0  # share of the sends that are carried out twice
    reorder: float = 0.0  # share of the sends that wait for up to a second, so that later ones overtake
    lose_answer: float = 0.0  # share of the requests that are carried out and whose answer is lost
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    times: list[tuple[float, str, str]] = field(default_factory=list)

    def hold(self, gated: str) -> None:
        """Hold all requests that begin from now on and that match, until the gate is opened."""
        self.gated = gated
        self.gate.close()


class HttpProxy:
    """Stands between the daemon and the emulator, and distinguishes SQS from S3 by its target header."""

    def __init__(self, target: str, session: aiohttp.ClientSession, chance: random.Random) -> None:
        self._target = target
        self._session = session
        self._chance = chance
        self.sqs, self.s3 = HttpFaults(), HttpFaults()
        self.released = asyncio.Event()  # set at the end, when black holes end

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        operation = request.headers.get("X-Amz-Target", "").removeprefix("AmazonSQS.")
        proxy = self.sqs if operation else self.s3
        queue = body.partition(b'"QueueUrl"')[2].partition(b'"')[2].partition(b'"')[0].decode().rsplit("/", 1)[-1]
        proxy.seen[queue, operation or request.method] += 1
        proxy.times.append((time.monotonic(), queue, operation or request.method))
        if proxy.gated in f"{operation or request.method} {queue or request.path}":
            await proxy.gate.passed()
        await asyncio.sleep(proxy.delay)
        if proxy.fault is not Fault.NONE and (not proxy.only or (operation or request.method) in proxy.only):
            return await self._fail(request, proxy, sqs=bool(operation))
        if operation == "SendMessage":
            if self._chance.random() < proxy.reorder:
                await asyncio.sleep(self._chance.random())
            if self._chance.random() < proxy.duplicate:
                await self._forward(request, body)
        answer = await self._forward(request, body)
        if self._chance.random() < proxy.lose_answer:
            return await self._fail(request, HttpFaults(Fault.CUT), sqs=False)
        return answer

    async def _fail(self, request: web.Request, proxy: HttpFaults, *, sqs: bool) -> web.Response:
        fault = proxy.fault
        if fault is Fault.BLACK_HOLE:
            await self.released.wait()
        if fault is Fault.BROKEN:
            return web.Response(status=503, text="<html>Service Unavailable</html>", content_type="text/html")
        if fault is Fault.ANSWERS:
            status, kind, body = proxy.answer
            return web.Response(status=status, body=body, content_type=kind)
        if fault in {Fault.THROTTLED, Fault.REFUSED} and sqs:
            code = "RequestThrottled" if fault is Fault.THROTTLED else "AccessDeniedException"
            refusal = {"__type": f"com.amazonaws.sqs#{code}", "message": "refused by a test"}
            headers = {"x-amzn-query-error": f"{code};Sender"}
            return web.json_response(refusal, status=403, headers=headers, content_type="application/x-amz-json-1.0")
        if fault in {Fault.THROTTLED, Fault.REFUSED}:
            status, code = (503, "SlowDown") if fault is Fault.THROTTLED else (403, "AccessDenied")
            return web.Response(
                status=status, text=f"<Error><Code>{code}</Code></Error>", content_type="application/xml"
            )
        if request.transport:
            request.transport.abort()
        return web.Response(status=500)

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        """Forward a request unchanged, with its Host header and the key's encoding, which the signature covers."""
        url = f"{self._target}{request.raw_path}"
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP]
        async with self._session.request(
            request.method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
        ) as answer:
            content = await answer.read()
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP]
        response = web.Response(status=answer.status, body=b"" if request.method == "HEAD" else content)
        for name, value in kept:
            if not (name.lower() == "content-length" and request.method != "HEAD"):
                response.headers[name] = value
        return response


_HOP = frozenset({"transfer-encoding", "connection", "keep-alive", "expect"})


@asynccontextmanager
async def http_proxy(target: str, *, seed: int = 0) -> AsyncIterator[tuple[HttpProxy, str]]:
    """Serve a proxy on a free port; yield it and its URL."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        proxy = HttpProxy(target, session, random.Random(seed))  # noqa: S311 - chance in a test, repeatable
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        try:
            yield proxy, f"http://{HOST}:{runner.addresses[0][1]}"
        finally:
            proxy.released.set()
            await runner.cleanup()
