"""An HTTP/1.1 load: a number of connections, each of which sends its next request after the response."""

import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 64
ANSWER_DEADLINE = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """Requests per second, their 50th and 99th percentile in milliseconds, and the server's CPU time for one."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


class _Connection(asyncio.Protocol):
    """Sends one request after the other and measures each. It parses only the status and the length."""

    def __init__(self, request: bytes, status: bytes, until: float, ended: "asyncio.Future[None]") -> None:
        self._request = request
        self._status = status
        self._until = until
        self._ended = ended
        self._buffer = b""
        self._sent = 0.0
        self.seconds: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        if head[9:12] != self._status:
            self._end(RuntimeError(f"the server answered {self._buffer[:600]!r}"))
            return
        self._buffer = b""
        now = time.perf_counter()
        self.seconds.append(now - self._sent)
        if now < self._until:
            self._send()
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server hung up"))

    def _end(self, error: Exception | None) -> None:
        if not self._ended.done():
            if error:
                self._ended.set_exception(error)
            else:
                self._ended.set_result(None)
        self._transport.close()


def _length(head: bytes) -> int:
    begin = head.lower().index(b"content-length:") + 15
    end = head.find(b"\r\n", begin)
    return int(head[begin : end if end >= 0 else None])


def _itself(connection: _Connection) -> _Connection:
    return connection


async def load(
    url: str, request: bytes, *, status: int, seconds: float, pid: int, connections_open: int = CONNECTIONS
) -> Load:
    """Load a server for `seconds`. Raises RuntimeError at the first response with another status."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    begun, cpu = time.perf_counter(), cpu_seconds(pid)
    connections: list[_Connection] = []
    ends: list[asyncio.Future[None]] = []
    for _ in range(connections_open):
        ended: asyncio.Future[None] = loop.create_future()
        connection = _Connection(request, str(status).encode(), begun + seconds, ended)
        await loop.create_connection(partial(_itself, connection), parts.hostname or "", parts.port or 80)
        connections.append(connection)
        ends.append(ended)
    async with asyncio.timeout(seconds + ANSWER_DEADLINE):
        await asyncio.gather(*ends)
    took = time.perf_counter() - begun
    times = sorted(second for connection in connections for second in connection.seconds)
    cuts = statistics.quantiles(times, n=100)
    cpu = cpu_seconds(pid) - cpu
    return Load(len(times) / took, cuts[49] * 1000, cuts[98] * 1000, cpu / len(times) * 1000)


def cpu_seconds(pid: int) -> float:
    """Read the CPU seconds of one process, user and system: fields 14 and 15 of its `stat`."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def get(path: str, token: str = "") -> bytes:
    """Build a GET request."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n".encode()


def post(path: str, body: bytes, token: str = "") -> bytes:
    """Build a POST request with a JSON body."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
