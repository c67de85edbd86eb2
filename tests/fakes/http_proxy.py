"""A small HTTP proxy: records its requests, and resolves every host to one address."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class ForwardProxy:
    """Forwards every request to `upstream`, a port on this machine; without one it answers 502."""

    upstream: int | None = None
    port: int = 0
    asked: list[str] = field(default_factory=list)
    """The first line of each request, without its version."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, headers = head.partition(b"\r\n")
            method, target, version = line.decode().split()
            self.asked.append(f"{method} {target}")
            if self.upstream is None or method == "CONNECT":
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                parts = urlsplit(target)
                path = f"{parts.path}?{parts.query}" if parts.query else parts.path
                await self._forward(writer, f"{method} {path} {version}\r\nConnection: close\r\n".encode() + headers)
            await writer.drain()
        writer.close()

    async def _forward(self, writer: asyncio.StreamWriter, request: bytes) -> None:
        reader, upstream = await asyncio.open_connection("127.0.0.1", self.upstream)
        upstream.write(request)
        while piece := await reader.read(65536):
            writer.write(piece)
        upstream.close()


@asynccontextmanager
async def forward_proxy(upstream: int | None = None) -> AsyncIterator[ForwardProxy]:
    """Serve a proxy on a free port of this machine."""
    proxy = ForwardProxy(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
