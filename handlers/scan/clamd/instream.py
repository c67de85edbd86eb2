"""INSTREAM over a raw socket. It reads while it writes, so that clamd's reply is read even when clamd hangs up.

asyncio's streams raise the write error instead and lose the reply. So does the `clamd` package, which also blocks and
writes chunks of 1 KiB.
"""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes, urlsplit

from media.errors import Dependency, UnavailableError

CHUNK = 256 * 1024
"""Bytes in one chunk of INSTREAM, at most. clamd's protocol allows more, but throughput does not grow."""
REPLY_LIMIT = 4096
"""Bytes of a reply, at most. A signature's name is far shorter."""
CONNECT_TIMEOUT = 5.0
"""Seconds."""
LARGEST_CHUNK = 0xFFFF_FFFF
"""Bytes of a chunk whose length fits into 32 bits."""
_LENGTH = struct.Struct("!L")
_SEND_BUFFER = 1024 * 1024
"""Bytes of the socket's send buffer: the next chunk waits there while the one after it is fetched."""

Source = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens the bytes to scan. Called after clamd is connected, so that a dead clamd causes no download."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where clamd listens: a unix socket's path, or a host and port."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Parse `tcp://host:port` or `unix:///path`, the path percent-encoded. Raises ValueError for others."""
        parts = urlsplit(url)
        if parts.scheme == "unix" and parts.path and not (parts.netloc or parts.query or parts.fragment):
            return cls(path=os.fsdecode(unquote_to_bytes(parts.path)))
        if parts.scheme == "tcp" and parts.hostname and parts.port:
            return cls(parts.hostname, parts.port)
        raise ValueError(f"not a clamd address: {url!r}")

    def __str__(self) -> str:
        return f"unix://{quote(os.fsencode(self.path))}" if self.path else f"tcp://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reply:
    """All bytes that clamd sent until it hung up.

    `complete`: clamd was sent everything before it replied, and read all of it, as far as the kernel can tell.
    """

    said: bytes
    complete: bool


async def instream(address: Address, source: Source, given: asyncio.Event | None = None) -> Reply:
    """Stream `source` to clamd and return its reply. The caller sets the deadline; `given` is set at the first byte.

    Raises UnavailableError(clamd) when clamd cannot be reached, before `source` is opened, and when it hangs up before
    it is sent a byte of it; and the errors of `source`.
    """
    with await connect(address) as connection:
        heard = bytearray()
        listening = asyncio.ensure_future(listen(connection, heard))
        try:
            async with source() as pieces:
                complete = await _send_all(connection, pieces, heard, listening, given or asyncio.Event())
            in_order = await listening
        finally:
            listening.cancel()
        if complete is None and not heard:  # it went while S3 was slow: the file cannot be why
            raise UnavailableError(Dependency.CLAMD, f"{address} hung up before it was sent the file")
        return Reply(bytes(heard), bool(complete) and in_order)


async def accepts(address: Address, size: int, *, timeout: float) -> bool:  # noqa: ASYNC109 - silence is the answer
    """Return whether clamd accepts a stream of `size` bytes (StreamMaxLength).

    clamd refuses by a chunk's announced length alone. It does not answer a length that it accepts, so that a yes takes
    `timeout` seconds. Raises UnavailableError.
    """
    if size > LARGEST_CHUNK:
        return False
    loop = asyncio.get_running_loop()
    with await connect(address) as connection:
        try:
            async with asyncio.timeout(timeout):
                await loop.sock_sendall(connection, b"zINSTREAM\0" + _LENGTH.pack(size))
                await loop.sock_recv(connection, REPLY_LIMIT)
        except TimeoutError:
            return True
        except ConnectionError as error:
            raise UnavailableError(Dependency.CLAMD, str(error)) from error
    return False


async def ask(address: Address, command: str) -> bytes:
    """Return clamd's answer to a plain command such as VERSION, without its line end. The caller sets the deadline.

    Raises UnavailableError when clamd cannot be reached, sends more than REPLY_LIMIT bytes, or hangs up out of order.
    """
    heard = bytearray()
    with await connect(address) as connection:
        try:
            await asyncio.get_running_loop().sock_sendall(connection, b"z%s\0" % command.encode())
            in_order = await listen(connection, heard)
        except OSError as error:
            raise UnavailableError(Dependency.CLAMD, f"{address}: {error}") from error
    if not in_order:
        raise UnavailableError(Dependency.CLAMD, f"{address}: no proper answer to {command}")
    return bytes(heard).strip(b"\0\r\n ")


async def connect(address: Address) -> socket.socket:
    """Return a connected, non-blocking socket. Raises UnavailableError(clamd)."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            if address.path:
                return await _dial(socket.AF_UNIX, address.path)
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            for family, _, _, _, place in found[:-1]:
                with suppress(OSError):  # the name has more addresses; the error of the last one is raised
                    return await _dial(family, place)
            return await _dial(found[-1][0], found[-1][4])
    except (OSError, TimeoutError) as error:
        raise UnavailableError(Dependency.CLAMD, f"{address}: {type(error).__name__} {error}".strip()) from error


async def _dial(family: int, place: object) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if family != socket.AF_UNIX:
            # Keep-alive notices a dead connection within half a minute, long before the scan's deadline.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
                if (option := getattr(socket, name, None)) is not None:
                    connection.setsockopt(socket.IPPROTO_TCP, option, value)
        await asyncio.get_running_loop().sock_connect(connection, place)  # type: ignore[arg-type] # what getaddrinfo gave
    except BaseException:
        connection.close()
        raise
    return connection


async def _send_all(
    connection: socket.socket,
    pieces: AsyncIterator[bytes],
    heard: bytearray,
    listening: "asyncio.Future[bool]",
    given: asyncio.Event,
) -> bool | None:
    """Send all pieces. Returns False when clamd replied or hung up before; its reply is then on its way.

    Returns None when that was before the first byte.
    """
    loop, ended = asyncio.get_running_loop(), None
    try:
        await loop.sock_sendall(connection, b"zINSTREAM\0")
        async for piece in pieces:
            if ended is None and (listening.done() or _has_reply(connection)):
                return None
            ended = False
            given.set()
            for start in range(0, len(piece), CHUNK):
                await _send_chunk(connection, memoryview(piece)[start : start + CHUNK])
            if heard or listening.done():
                return False
        if heard or listening.done() or _has_reply(connection):
            return ended
        await loop.sock_sendall(connection, _LENGTH.pack(0))
    except (BrokenPipeError, ConnectionResetError):
        return ended
    return True


async def _send_chunk(connection: socket.socket, chunk: memoryview) -> None:
    """Send length and bytes in one call, without joining them. The rest follows when there is room for it."""
    loop, head = asyncio.get_running_loop(), _LENGTH.pack(len(chunk))
    try:
        sent = connection.sendmsg([head, chunk])
    except BlockingIOError:
        sent = 0
    if sent < len(head):
        await loop.sock_sendall(connection, head[sent:])
        sent = len(head)
    if sent < len(head) + len(chunk):
        await loop.sock_sendall(connection, chunk[sent - len(head) :])


def _has_reply(connection: socket.socket) -> bool:
    """Return whether the kernel holds a reply, or an end, that the event loop has not read yet."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


async def listen(connection: socket.socket, heard: bytearray) -> bool:
    """Read into `heard` until clamd hangs up, as it does after each command. Bytes after a reply invalidate it.

    Returns False when it did not hang up in order: the kernel resets a connection that is closed before all is read.
    """
    loop = asyncio.get_running_loop()
    while len(heard) <= REPLY_LIMIT:
        try:
            piece = await loop.sock_recv(connection, REPLY_LIMIT)
        except ConnectionResetError:
            return False
        if not piece:
            return True
        heard += piece
    return False
