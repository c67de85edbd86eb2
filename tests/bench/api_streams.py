"""A thousand event streams at once: what one costs in memory, and how fast news reach them all."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

STREAMS = 1000
OF_ONE = 10
"""Streams of one user, the service's own bound."""
DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Streams:
    """`kib_each` is what the server's resident memory grew by per stream; seconds until all were told of a change."""

    open: int
    opened_seconds: float
    kib_each: float
    told_seconds: float


type Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def measure(url: str, pid: int, tokens: list[str], dsn: str) -> Streams:
    """Open OF_ONE streams for each token until there are STREAMS, then change one asset of every user."""
    before = _resident_kib(pid)
    begun = time.perf_counter()
    wanted = [token for token in tokens for _ in range(OF_ONE)][:STREAMS]
    async with asyncio.timeout(DEADLINE):
        pairs = [await _opened(url, token) for token in wanted]
        opened = time.perf_counter() - begun
        grown = _resident_kib(pid) - before
        told = await _told(pairs, dsn)
    for _, writer in pairs:
        writer.close()
    return Streams(len(pairs), opened, grown / len(pairs), told)


async def _opened(url: str, token: str) -> Pair:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"GET /api/v1/media/assets/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    answered = await reader.readuntil(b": connected\n\n")
    if b" 200 " not in answered.split(b"\r\n", 1)[0]:
        raise RuntimeError(f"no stream: {answered[:300]!r}")
    return reader, writer


async def _told(pairs: list[Pair], dsn: str) -> float:
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
