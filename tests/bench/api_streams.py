"""A thousand event streams at once: the memory of each, and the time until all are notified."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

STREAMS = 1000
STREAMS_OF_ONE = 10
"""Streams of one user, the service's limit."""
DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Streams:
    """`kib_each`: growth of the server's resident memory per stream. `notified_seconds`: until all had an event."""

    open: int
    opened_seconds: float
    kib_each: float
    notified_seconds: float


type Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def measure(url: str, pid: int, tokens: list[str], dsn: str) -> Streams:
    """Open STREAMS_OF_ONE streams for each token up to STREAMS, then change one asset of every user."""
    before = _resident_kib(pid)
    begun = time.perf_counter()
    wanted = [token for token in tokens for _ in range(STREAMS_OF_ONE)][:STREAMS]
    async with asyncio.timeout(DEADLINE):
        pairs = [await _open_stream(url, token) for token in wanted]
        opened = time.perf_counter() - begun
        grown = _resident_kib(pid) - before
        notified = await _notify_all(pairs, dsn)
    for _, writer in pairs:
        writer.close()
    return Streams(len(pairs), opened, grown / len(pairs), notified)


async def _open_stream(url: str, token: str) -> Pair:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"GET /api/v1/media/assets/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    response = await reader.readuntil(b": connected\n\n")
    if b" 200 " not in response.split(b"\r\n", 1)[0]:
        raise RuntimeError(f"no stream: {response[:300]!r}")
    return reader, writer


async def _notify_all(pairs: list[Pair], dsn: str) -> float:
    connection = await asyncpg.connect(dsn)
    try:
        begun = time.perf_counter()
        await connection.execute("UPDATE assets SET progress = progress + 1, updated_at = now()")
        await asyncio.gather(*(reader.readuntil(b"event: asset") for reader, _ in pairs))
        return time.perf_counter() - begun
    finally:
        await connection.close()


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])
