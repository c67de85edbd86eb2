"""A fake clamd. It passes the self-test, and handles every other file as a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from handlers.scan.clamd.instream import Address
from handlers.scan.clamd.self_test import encrypted, too_deep

VERSION = "ClamAV 1.4.6/27500/Sun Nov 22 08:00:00 2026"
LIMITS = b"stream: Heuristics.Limits.Exceeded.MaxRecursion FOUND\0"
ENCRYPTED = b"stream: Heuristics.Encrypted.Zip FOUND\0"

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Handles a file that is not of the self-test, from the length of its first chunk on."""


@dataclass
class FakeClamd:
    """A server that listens on `address`. `busy` and `most` count streams at once, `asked` all of them.

    It answers PING only if `alive`. `version` may hold bytes that are no text, as `os.fsdecode` returns them.
    """

    behave: Behave
    address: Address = field(default_factory=Address)
    alerts: bool = True
    version: str = VERSION
    alive: bool = True
    stream_limit: int = 1 << 40
    asked: int = 0
    busy: int = 0
    most: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            command = await _command(reader)
            if command == b"VERSION":
                writer.write(self.version.encode(errors="surrogateescape") + b"\n")
            elif command == b"PING" and self.alive:
                writer.write(b"PONG\n")
            elif command == b"INSTREAM":
                await self._instream(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up; what follows is the same
        finally:
            writer.close()

    async def _instream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > self.stream_limit:
            writer.write(b"INSTREAM size limit exceeded. ERROR\0")
            return
        if size in {len(too_deep()), len(encrypted())}:
            alert = LIMITS if size == len(too_deep()) else ENCRYPTED
            await reader.readexactly(size + 4)
            writer.write(alert if self.alerts else b"stream: OK\0")
            return
        self.asked, self.busy = self.asked + 1, self.busy + 1
        self.most = max(self.most, self.busy)
        try:
            await self._behave(size, reader, writer)
        finally:
            self.busy -= 1

    async def _behave(self, size: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.StreamReader()
        relay.feed_data(size.to_bytes(4, "big"))
        feeding = asyncio.ensure_future(_relay(reader, relay))
        try:
            await self.behave(relay, writer)
            await writer.drain()
        finally:
            feeding.cancel()


async def _relay(reader: asyncio.StreamReader, relay: asyncio.StreamReader) -> None:
    while data := await reader.read(65_536):
        relay.feed_data(data)
    relay.feed_eof()


async def _command(reader: asyncio.StreamReader) -> bytes:
    end = b"\0" if await reader.readexactly(1) == b"z" else b"\n"
    return (await reader.readuntil(end))[:-1]


@asynccontextmanager
async def fake_clamd(behave: Behave, folder: Path | None = None, **more: object) -> AsyncIterator[FakeClamd]:
    """Run a fake clamd on a unix socket in `folder`, else on TCP."""
    fake = FakeClamd(behave, **more)  # type: ignore[arg-type] # the fields of FakeClamd, by name
    if folder:
        server = await asyncio.start_unix_server(fake.serve, folder / "clamd.sock")
        fake.address = Address(path=str(folder / "clamd.sock"))
    else:
        server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
        fake.address = Address(*server.sockets[0].getsockname()[:2])
    try:
        yield fake
    finally:
        server.close()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Read the stream up to the empty chunk that ends it."""
    content = b""
    while size := int.from_bytes(await reader.readexactly(4), "big"):
        content += await reader.readexactly(size)
    return content


def says(reply: bytes) -> Behave:
    """Read the whole file, then send this reply."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_all(reader)
        writer.write(reply)

    return behave


async def dies_mid_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(100)
    writer.transport.abort()


async def dies_after_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_all(reader)
    writer.transport.abort()


async def says_ok_and_dies(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"stream: OK\0")
    await writer.drain()
    writer.transport.abort()


async def is_silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await read_all(reader)
    await reader.read()  # until the client gives up


async def reads_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin a clean reply, and never end it."""
    await read_all(reader)
    writer.write(b"stream: O")
    await reader.read()


async def says_ok_and_stays(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_all(reader)
    writer.write(b"stream: OK\0")
    await writer.drain()
    await reader.read()


async def says_ok_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"stream: OK\0")
    await writer.drain()
    await read_all(reader)


async def says_ok_halfway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(100_000)
    await says_ok_early(reader, writer)


BAD: dict[str, Behave] = {
    "killed mid-stream": dies_mid_stream,
    "killed after all": dies_after_all,
    "ok and killed": says_ok_and_dies,
    "silent": is_silent,
    "reads nothing": reads_nothing,
    "slow": drips,
    "ok without hanging up": says_ok_and_stays,
    "ok at once": says_ok_early,
    "ok halfway": says_ok_halfway,
    "garbage": says(b"\x00\xff\x16\x03\x01 garbage"),
    "nothing": says(b""),
    "empty line": says(b"\0"),
    "newline": says(b"\n"),
    "half": says(b"stream: O"),
    "no end": says(b"stream: OK"),
    "newline for an end": says(b"stream: OK\n"),
    "newline within": says(b"stream: OK\n\0"),
    "junk behind": says(b"stream: OK\0junk"),
    "junk within": says(b"stream: OK junk\0"),
    "twice": says(b"stream: OK\0stream: OK\0"),
    "found behind": says(b"stream: OK\0stream: Eicar FOUND\0"),
    "another name": says(b"file: OK\0"),
    "case": says(b"stream: ok\0"),
    "space": says(b" stream: OK\0"),
    "id": says(b"1: stream: OK\0"),
    "error": says(b"stream: Can't allocate memory ERROR\0"),
    "endless": says(b"A" * 100_000),
}
"""All behavior that must never count as clean."""
