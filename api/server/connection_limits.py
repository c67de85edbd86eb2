"""Connections and their bounds: how many are open, and how long one may leave its answer unread.

aiohttp bounds the requests that wait in a connection (32), and how long it waits for the next one. For its answers to
be taken it would wait for ever.
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
"""Bytes of answers that the kernel takes ahead of what the network takes; left alone it takes some megabytes."""
DESCRIPTORS_KEPT = 256
"""For all that is no client's connection: Postgres, S3, SQS, Redis, files."""

HELD_SHARE = 8
"""One connection in so many may have an answer here that its client does not take: each holds some 100 KB."""
_LAST_WORDS = {"Connection": "close", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`send_timeout`: seconds that an answer may stand still on its way before its connection is cut."""

    connections: int
    send_timeout: float


def most_connections(wanted: int) -> int:
    """As many as wanted, or as the process's limit of open files leaves."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = wanted if limit == resource.RLIM_INFINITY else max(limit - DESCRIPTORS_KEPT, limit // 2)
    if possible < wanted:
        log.warning("api.few_descriptors", limit=limit, connections=possible, wanted=wanted)
    return min(wanted, possible)


class ConnectionSlots:
    """One for each open connection of this process, and for each answer that a client does not take."""

    def __init__(self, bounds: ConnectionLimits, metrics: ApiMetrics) -> None:
        self.bounds = bounds
        self.metrics = metrics
        self._taken = 0
        self._held: dict[Connection, None] = {}
        self._most_held = max(1, bounds.connections // HELD_SHARE)

    def take(self) -> bool:
        if self._taken >= self.bounds.connections:
            self.metrics.connections_cut["full"].inc()
            return False
        self._taken += 1
        self.metrics.connections.set(self._taken)
        return True

    def give_back(self) -> None:
        self._taken -= 1
        self.metrics.connections.set(self._taken)

    def hold(self, connection: "Connection") -> None:
        """Where too many do not take their answers, it is cut that has not for the longest time."""
        self._held[connection] = None
        if len(self._held) > self._most_held:
            self.metrics.connections_cut["crowd"].inc()
            next(iter(self._held)).cut()

    def let_go(self, connection: "Connection") -> None:
        self._held.pop(connection, None)


class Connection(web.RequestHandler):
    """One client's. While it does not take its answers nothing more is read from it."""

    __slots__ = ("_gone", "_has_place", "_line", "_places", "_tell")

    def __init__(self, server: web.Server, places: ConnectionSlots, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._places = places
        self._has_place = False
        self._line: asyncio.Transport | None = None  # aiohttp forgets its own before what was written is sent
        self._gone = asyncio.Event()
        self._tell: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._line = cast("asyncio.Transport", transport)
        self._has_place = self._places.take()
        if not self._has_place:
            self._line.abort()
            return
        self._line.set_write_buffer_limits(high=0)  # one answer at a time: the next when the kernel has taken it all
        _bound_sending(self._line.get_extra_info("socket"), self._places.bounds.send_timeout)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, TimeoutError):  # ETIMEDOUT: nothing was acknowledged for too long
            self._places.metrics.connections_cut["stuck"].inc()
        super().connection_lost(exc)
        self._places.let_go(self)
        if self._has_place:
            self._places.give_back()
        self._gone.set()
        if self._tell:
            self._tell()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._line:
            self._line.pause_reading()
        self._places.hold(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._places.let_go(self)
        # aiohttp may have stopped reading for reasons of its own, and goes on by itself.
        if self._line and not (self._reading_paused or self._buffer_paused):
            self._line.resume_reading()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is no HTTP request is a problem like any other, told without a word of what was sent."""
        super().handle_error(request, status, exc, message)  # logs it; raises when an answer has begun
        request[REQUEST_ID] = uuid4().hex
        server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        code = ProblemCode.INTERNAL_ERROR if server_error else ProblemCode.NOT_HTTP
        return problem_response(request, ProblemError(code, headers=_LAST_WORDS))

    def when_gone(self, tell: Callable[[], None]) -> None:
        """Have `tell` called as soon as the connection is gone."""
        self._tell = tell
        if self._gone.is_set():
            tell()

    def cut(self) -> None:
        """End it, with all that was not taken yet, also by the kernel."""
        self._places.let_go(self)
        if self._line:
            client: socket.socket = self._line.get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._line.abort()

    async def end(self) -> None:
        """Close once all that was written is sent; returns when the connection is gone, and its descriptor free."""
        if self._line:
            self._line.close()
            await self._gone.wait()


def _bound_sending(client: socket.socket, send_timeout: float) -> None:
    """What only the kernel sees: it is to take little ahead, and to give up on whoever takes nothing (tcp(7)).

    With TCP_USER_TIMEOUT that is so for a peer that is gone, for one whose window stays shut, and for what is left to
    send after we have closed. Whoever takes a little, however slowly, is waited for. Linux has both options.
    """
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(send_timeout * 1000))


def connection_of(request: web.Request) -> Connection:
    """The connection that a request came by. Raises TypeError when it is no server of ours that took it."""
    if not isinstance(request.protocol, Connection):
        raise TypeError("the API must be run by api.server.connection_limits.Runner")
    return request.protocol


class _Server(web.Server):
    """Makes our connections instead of aiohttp's."""

    def __init__(self, plain: web.Server, places: ConnectionSlots, options: dict[str, Any]) -> None:
        super().__init__(plain.request_handler, request_factory=plain.request_factory)
        self._places = places
        self._options = options

    def __call__(self) -> Connection:
        return Connection(self, self._places, **self._options)


class Runner(web.AppRunner):
    """aiohttp's, with bounds. `options` are those of `web.RequestHandler`."""

    __slots__ = ("_options", "_places")

    def __init__(
        self,
        app: web.Application,
        bounds: ConnectionLimits,
        metrics: ApiMetrics,
        *,
        shutdown_timeout: float,
        **options: Any,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._places = ConnectionSlots(bounds, metrics)
        self._options = options

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self._places, self._options)
