"""clamd, spoken to directly: INSTREAM over a raw socket, so that its last word is heard even when it hangs up.

The `clamd` package blocks, writes 1 KiB chunks and loses the reply past the size limit; it serves for PING and VERSION.
"""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import clamd

from media.errors import Dependency, UnavailableError

CHUNK = 256 * 1024
"""Bytes in one chunk of INSTREAM, at most; clamd's protocol allows more, throughput does not grow (facts: ClamAV)."""
REPLY_LIMIT = 4096
"""Bytes of a reply; a signature's name is far shorter."""
CONNECT_TIMEOUT = 5.0
VERSION_AGE = 60.0
"""Seconds for which a version that was asked for serves again."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where clamd listens: a unix socket's path, or a host and port."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """From `tcp://host:port` or `unix:///path`. Raises ValueError for anything else."""
        parts = urlsplit(url)
        if parts.scheme == "unix" and parts.path:
            return cls(path=parts.path)
        if parts.scheme == "tcp" and parts.hostname and parts.port:
            return cls(parts.hostname, parts.port)
        raise ValueError(f"not a clamd address: {url!r}")


class Clamd:
    """One clamd. `timeout` is seconds for a whole scan; at most `concurrency` scans run at once."""

    def __init__(self, address: Address, *, timeout: float = 120.0, concurrency: int = 10) -> None:
        self._address = address
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)
        self._version = ""
        self._asked = -VERSION_AGE

    async def scan(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Stream `pieces` to clamd; returns its reply without the NUL, empty when it hung up without one.

        Raises UnavailableError when it cannot be reached, TimeoutError past the deadline, and whatever `pieces` raises.
        """
        async with self._slots, asyncio.timeout(self._timeout), self._connected() as connection:
            loop = asyncio.get_running_loop()
            reply = asyncio.ensure_future(_reply(connection))
            try:
                await self._send(loop, connection, pieces, reply)
                return await reply
            finally:
                reply.cancel()

    async def ping(self) -> None:
        """Raises UnavailableError unless clamd answers PONG."""
        await self._ask("ping")

    async def version(self) -> str:
        """For example `ClamAV 1.4.6/27500/Sun Nov 22 08:00:00 2026`: engine, database, its date."""
        if time.monotonic() - self._asked > VERSION_AGE:
            self._version, self._asked = await self._ask("version"), time.monotonic()
        return self._version

    async def _send(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        pieces: AsyncIterator[bytes],
        reply: "asyncio.Future[bytes]",
    ) -> None:
        """Until everything is sent or clamd has answered; a broken pipe means that its reply is on the way."""
        try:
            await loop.sock_sendall(connection, b"zINSTREAM\0")
            async for piece in pieces:
                for start in range(0, len(piece), CHUNK):
                    chunk = piece[start : start + CHUNK]
                    await loop.sock_sendall(connection, struct.pack("!L", len(chunk)) + chunk)
                if reply.done():
                    return
            await loop.sock_sendall(connection, struct.pack("!L", 0))
        except (BrokenPipeError, ConnectionResetError):
            return

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[socket.socket]:
        family = socket.AF_UNIX if self._address.path else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await self._connect(connection)
            except (OSError, TimeoutError) as error:
                raise UnavailableError(Dependency.CLAMD, f"{type(error).__name__}: {error}") from error
            yield connection

    async def _connect(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if self._address.path:
            await loop.sock_connect(connection, self._address.path)
            return
        found = await loop.getaddrinfo(self._address.host, self._address.port, family=socket.AF_INET)
        await loop.sock_connect(connection, found[0][4])

    async def _ask(self, command: str) -> str:
        try:
            return str(await asyncio.to_thread(getattr(self._blocking(), command)))
        except (clamd.ClamdError, OSError) as error:
            raise UnavailableError(Dependency.CLAMD, str(error)) from error

    def _blocking(self) -> "clamd.ClamdNetworkSocket":
        if self._address.path:
            return clamd.ClamdUnixSocket(self._address.path, timeout=CONNECT_TIMEOUT)
        return clamd.ClamdNetworkSocket(self._address.host, self._address.port, timeout=CONNECT_TIMEOUT)


async def _reply(connection: socket.socket) -> bytes:
    """All that clamd says, up to the NUL that ends it or to its hanging up."""
    loop = asyncio.get_running_loop()
    heard = bytearray()
    while b"\0" not in heard and len(heard) < REPLY_LIMIT:
        try:
            piece = await loop.sock_recv(connection, REPLY_LIMIT)
        except ConnectionResetError:
            break
        if not piece:
            break
        heard += piece
    return bytes(heard) if b"\0" in heard else b""
