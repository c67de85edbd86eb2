"""Limits of connections: how many are open, and for how long a client may leave its response unread.

aiohttp limits the requests that wait in a connection (32), and how long it waits for the next one. It would wait
forever for a client to read a response.
"""

import asyncio
import resource
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from secrets import token_hex
from typing import Any, cast

import structlog
from aiohttp import web

from api.metrics import ApiMetrics
from api.problems import ProblemCode, ProblemError
from api.security.rate_limits import SUBJECT
from api.server.connection_slots import UNTOLD, ConnectionLimits, ConnectionSlots
from api.server.middlewares import REQUEST_ID, problem_response
from api.server.public_origin import came_through_proxy

log = structlog.get_logger(__name__)

UNSENT = 128 * 1024
"""Bytes of responses that the kernel buffers ahead of the network. By default it buffers some megabytes."""
DESCRIPTORS_KEPT = 256
"""File descriptors that are kept for everything but client connections: Postgres, S3, SQS, Redis, files."""
_CLOSING_HEADERS = {"Connection": "close", "X-Content-Type-Options": "nosniff"}


def most_connections(wanted: int) -> int:
    """Return `wanted`, or fewer if the process's limit of open files demands it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = wanted if limit == resource.RLIM_INFINITY else max(limit - DESCRIPTORS_KEPT, limit // 2)
    if possible < wanted:
        log.warning("api.few_descriptors", limit=limit, connections=possible, wanted=wanted)
    return min(wanted, possible)


class Connection(web.RequestHandler):
    """One client's connection. Nothing more is read from it while the client does not read its responses."""

    __slots__ = ("_gone", "_has_slot", "_on_gone", "_slots", "_transport")

    def __init__(self, server: web.Server, slots: ConnectionSlots, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._slots = slots
        self._has_slot = False
        # aiohttp drops its own reference before everything that was written is sent.
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.Event()
        self._on_gone: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = self._transport.get_extra_info("peername") or ("",)
        self._has_slot = self._slots.take(self, peer[0])
        if not self._has_slot:
            self._transport.abort()
            return
        # One response at a time: the next one when the kernel has taken all of this one.
        self._transport.set_write_buffer_limits(high=0)
        # Only the kernel sees whether a client reads. It is to buffer little, and to give up on a client that takes
        # nothing (tcp(7)). TCP_USER_TIMEOUT covers a peer that is gone, one whose window stays shut, and data that is
        # left to send after we have closed. A client that reads slowly is waited for. Linux has both options.
        client: socket.socket = self._transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._slots.limits.send_timeout * 1000))
        super().connection_made(transport)

    async def start(self) -> None:
        """Handle requests until there are no more, and close."""
        try:
            await super().start()
        finally:
            # `close` cancels the wait for a request, and aiohttp leaves such a connection open.
            if self._transport:
                self._transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, TimeoutError):  # ETIMEDOUT: nothing was acknowledged for too long
            self._slots.metrics.connections_cut["stuck"].inc()
        super().connection_lost(exc)
        self._slots.release(self)
        self._slots.unhold(self)
        self._gone.set()
        if self._on_gone:
            self._on_gone()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._transport:
            self._transport.pause_reading()
        self._slots.hold(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._slots.unhold(self)
        # aiohttp may have paused reading for reasons of its own, and resumes it itself.
        if self._transport and not (self._reading_paused or self._buffer_paused):
            self._transport.resume_reading()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a malformed request with a problem that repeats nothing of what was sent."""
        super().handle_error(request, status, exc, message)  # logs it; raises when a response has begun
        request[REQUEST_ID] = token_hex(16)
        server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        code = ProblemCode.INTERNAL_ERROR if server_error else ProblemCode.NOT_HTTP
        return problem_response(request, ProblemError(code, headers=_CLOSING_HEADERS))

    def when_gone(self, callback: Callable[[], None]) -> None:
        """Call `callback` as soon as the connection is gone."""
        self._on_gone = callback
        if self._gone.is_set():
            callback()

    def cut(self) -> None:
        """Reset the connection. Drop all that the client has not read, in the kernel's buffer too."""
        self._slots.unhold(self)
        if self._transport:
            client: socket.socket = self._transport.get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    async def end(self) -> None:
        """Close once all that was written is sent. Return when the connection is gone and its descriptor free."""
        if self._transport:
            self._transport.close()
            await self._gone.wait()


def connection_of(request: web.BaseRequest) -> Connection:
    """Return the connection of a request. Raises TypeError when another server than ours accepted it."""
    if not isinstance(request.protocol, Connection):
        raise TypeError("the API must be run by api.server.connection_limits.Runner")
    return request.protocol


class Runner(web.AppRunner):
    """Run the application with limits of connections. `options` are those of `web.RequestHandler`."""

    __slots__ = ("_options", "_slots")

    def __init__(
        self,
        app: web.Application,
        limits: ConnectionLimits,
        metrics: ApiMetrics,
        *,
        shutdown_timeout: float,
        **options: Any,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._slots = ConnectionSlots(limits, metrics)
        self._options = options

    async def setup(self) -> None:
        await super().setup()
        server = super().server
        if server is None:
            raise RuntimeError("setup made no server")
        handle = server.request_handler

        async def observed(request: web.BaseRequest) -> web.StreamResponse:
            connection = connection_of(request)
            self._slots.begin(connection)
            try:
                return await handle(request)
            finally:
                self._slots.finish(connection, *self._clients_of(request))

        server.request_handler = observed

    @property
    def server(self) -> Any:
        """The factory of connections, which a site calls. Ours are known to aiohttp's server, which ends them."""
        plain = super().server
        return plain and (lambda: Connection(plain, self._slots, **self._options))

    def _clients_of(self, request: web.BaseRequest) -> tuple[str, ...]:
        """Return whose a connection is. Behind a proxy it is many users', and its address is nobody's."""
        peer = request.remote or ""
        if not came_through_proxy(request):
            user = request.get(SUBJECT)
            return (self._slots.client_name(peer), *([f"user {user}"] if user else []))
        if self._slots.client_name(peer) == UNTOLD:  # a trusted one, which says whose it is
            forwarded = ",".join(request.headers.getall("X-Forwarded-For", ())).rpartition(",")[2].strip()
            return (self._slots.client_name(forwarded),)
        return (UNTOLD,)
