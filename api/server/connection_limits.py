"""Limits of connections: how many are open, and for how long a client may leave its response unread.

aiohttp limits the requests that wait in a connection (32), and how long it waits for the next one. It would wait
forever for a client to read a response.
"""

import asyncio
import resource
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from uuid import uuid4

import structlog
from aiohttp import web

from api.metrics import ApiMetrics
from api.problems import ProblemCode, ProblemError
from api.server.middlewares import REQUEST_ID, problem_response

log = structlog.get_logger(__name__)

UNSENT = 128 * 1024
"""Bytes of responses that the kernel buffers ahead of the network. By default it buffers some megabytes."""
DESCRIPTORS_KEPT = 256
"""File descriptors that are kept for everything but client connections: Postgres, S3, SQS, Redis, files."""
HELD_SHARE = 8
"""One connection in so many may have a response that its client does not read. Each holds some 100 KB."""
_CLOSING_HEADERS = {"Connection": "close", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The most open connections, and the seconds without progress after which a response's connection is cut."""

    connections: int
    send_timeout: float


def most_connections(wanted: int) -> int:
    """Return `wanted`, or fewer if the process's limit of open files demands it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = wanted if limit == resource.RLIM_INFINITY else max(limit - DESCRIPTORS_KEPT, limit // 2)
    if possible < wanted:
        log.warning("api.few_descriptors", limit=limit, connections=possible, wanted=wanted)
    return min(wanted, possible)


class ConnectionSlots:
    """Count the open connections of this process, and those whose client does not read its response."""

    def __init__(self, limits: ConnectionLimits, metrics: ApiMetrics) -> None:
        self.limits = limits
        self.metrics = metrics
        self._taken = 0
        self._held: dict[Connection, None] = {}
        self._max_held = max(1, limits.connections // HELD_SHARE)

    def take(self) -> bool:
        if self._taken >= self.limits.connections:
            self.metrics.connections_cut["full"].inc()
            return False
        self._taken += 1
        self.metrics.connections.set(self._taken)
        return True

    def release(self) -> None:
        self._taken -= 1
        self.metrics.connections.set(self._taken)

    def hold(self, connection: "Connection") -> None:
        """Note that a client does not read its response. With too many of them, cut the one that waits the longest."""
        self._held[connection] = None
        if len(self._held) > self._max_held:
            self.metrics.connections_cut["crowd"].inc()
            next(iter(self._held)).cut()

    def unhold(self, connection: "Connection") -> None:
        """Note that a client reads again, or is gone."""
        self._held.pop(connection, None)


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
        self._has_slot = self._slots.take()
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

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, TimeoutError):  # ETIMEDOUT: nothing was acknowledged for too long
            self._slots.metrics.connections_cut["stuck"].inc()
        super().connection_lost(exc)
        self._slots.unhold(self)
        if self._has_slot:
            self._slots.release()
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
        request[REQUEST_ID] = uuid4().hex
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


def connection_of(request: web.Request) -> Connection:
    """Return the connection of a request. Raises TypeError when another server than ours accepted it."""
    if not isinstance(request.protocol, Connection):
        raise TypeError("the API must be run by api.server.connection_limits.Runner")
    return request.protocol


class _Server(web.Server):
    """Make our connections instead of aiohttp's."""

    def __init__(self, plain: web.Server, slots: ConnectionSlots, options: dict[str, Any]) -> None:
        super().__init__(plain.request_handler, request_factory=plain.request_factory)
        self._slots = slots
        self._options = options

    def __call__(self) -> Connection:
        return Connection(self, self._slots, **self._options)


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

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self._slots, self._options)
