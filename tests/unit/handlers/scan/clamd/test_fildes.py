"""A clamd that is handed descriptors: what it can do with them, and what it answers."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest

from handlers.scan.clamd import client
from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Address
from handlers.scan.clamd.pool import ScannerPool
from handlers.scan.clamd.self_test import source_of, too_deep
from handlers.scan.clamd.verdict import ScanFinding, read_reply
from media.asset import Verdict
from media.errors import Code
from tests.unit.handlers.scan.clamd.fake_clamd import LIMITS, VERSION, fake_clamd, says

CONTENT = bytes(range(256)) * 40_000
"""Several batches."""
LARGEST = 64 << 20
SHORT = 0.4

Behave = Callable[[socket.socket, bytes, int], None]
"""Handles a file: the connection, the content, and the descriptor."""


def replies(said: bytes) -> Behave:
    return lambda connection, _content, _descriptor: connection.sendall(said)


CLEAN = replies(b"fd[12]: OK\0")


@dataclass
class DescriptorClamd:
    """A clamd that takes descriptors, and streams for the self-test only. It accepts all sizes unless it is `small`."""

    listener: socket.socket
    behave: Behave
    small: bool = False
    scanned: list[str] = field(default_factory=list)

    def run(self) -> None:
        with suppress(OSError):  # closed by the test
            while True:
                connection, _ = self.listener.accept()
                Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            command = b""
            while not command.endswith(b"\0"):
                command += connection.recv(1)
            if command == b"zVERSION\0":
                connection.sendall(VERSION.encode() + b"\0")
            elif command == b"zPING\0":
                connection.sendall(b"PONG\0")
            elif command == b"zINSTREAM\0":
                self._instream(connection)
            elif command == b"zFILDES\0":
                self._fildes(connection)

    def _instream(self, connection: socket.socket) -> None:
        size = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")
        if size == len(too_deep()):
            connection.recv(size + 4, socket.MSG_WAITALL)
            connection.sendall(LIMITS)
        elif size > LARGEST - 1 and self.small:
            connection.sendall(b"INSTREAM size limit exceeded. ERROR\0")
        else:
            while size and connection.recv(size, socket.MSG_WAITALL):  # nothing follows the size of a probe
                size = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")
                if not size:
                    self.scanned.append("stream")
                    connection.sendall(b"stream: OK\0")

    def _fildes(self, connection: socket.socket) -> None:
        _, (descriptor, *_more), _, _ = socket.recv_fds(connection, 1, 1)
        try:
            content = b"".join(iter(lambda: os.read(descriptor, 1 << 20), b""))
            if content == too_deep():
                connection.sendall(LIMITS.replace(b"stream", b"fd[10]"))
            else:
                self.scanned.append("descriptor")
                self.behave(connection, content, descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def descriptor_clamd(
    folder: Path, behave: Behave, *, small: bool = False, timeout: float = 30.0
) -> Iterator[tuple[DescriptorClamd, Clamd]]:
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(folder / "clamd.sock"))
        listener.listen()
        fake = DescriptorClamd(listener, behave, small)
        Thread(target=fake.run, daemon=True).start()
        address = Address(path=str(folder / "clamd.sock"))
        yield fake, Clamd(address, timeout=timeout, scratch=folder, largest=LARGEST)
        with suppress(OSError):  # a test may have closed it
            listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for the silence by which a size is accepted."""
    monkeypatch.setattr(client, "PROBE_TIMEOUT", 0.05)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def scan(clamd: Clamd, content: bytes = CONTENT) -> ScanFinding:
    async with asyncio.timeout(30):
        return read_reply(await clamd.scan(source_of(content), len(content)))


async def test_clamd_reads_what_the_source_gave(tmp_path: Path) -> None:
    got: list[bytes] = []

    def keep(connection: socket.socket, content: bytes, _descriptor: int) -> None:
        got.append(content)
        connection.sendall(b"fd[12]: OK\0")

    with descriptor_clamd(tmp_path, keep) as (fake, clamd):
        assert (await scan(clamd)).verdict is Verdict.CLEAN
    assert got == [CONTENT]
    assert fake.scanned == ["descriptor"]


async def test_descriptor_cannot_write_and_leads_to_no_name(tmp_path: Path) -> None:
    found: list[object] = []

    def look(connection: socket.socket, _content: bytes, descriptor: int) -> None:
        found.append(os.fstat(descriptor).st_nlink)
        try:
            os.write(descriptor, b"x")
        except OSError as error:
            found.append(type(error))
        connection.sendall(b"fd[12]: OK\0")

    with descriptor_clamd(tmp_path, look) as (_, clamd):
        assert (await scan(clamd)).verdict is Verdict.CLEAN
    assert found == [0, OSError]
    assert names(tmp_path) == ["clamd.sock"], "nothing is left"


def silent(connection: socket.socket, _content: bytes, _descriptor: int) -> None:
    connection.recv(1)  # until the client gives up


BAD: dict[str, Behave] = {
    "killed": replies(b""),
    "cut": replies(b"fd[12]: O"),
    "no end": replies(b"fd[12]: OK"),
    "error": replies(b"fd[12]: Can't allocate memory ERROR\0"),
    "no descriptor": replies(b"No file descriptor received. ERROR\0"),
    "twice": replies(b"fd[12]: OK\0fd[12]: OK\0"),
    "no number": replies(b"fd[]: OK\0"),
    "another name": replies(b"/a/file: OK\0"),
    "silent": silent,
}


@pytest.mark.parametrize("behavior", BAD)
async def test_never_clean(behavior: str, tmp_path: Path) -> None:
    with descriptor_clamd(tmp_path, BAD[behavior], timeout=SHORT) as (_, clamd):
        try:
            finding = await scan(clamd)
        except TimeoutError:
            return
        assert finding.verdict is Verdict.ERROR, finding


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"fd[9]: Win.Test.EICAR_HDB-1 FOUND\0", Code.INFECTED),
        (b"fd[10]: Heuristics.Limits.Exceeded.MaxScanSize FOUND\0", Code.UNSCANNABLE),
        (b"fd[11]: Heuristics.Encrypted.PDF FOUND\0", Code.ENCRYPTED),
    ],
)
async def test_other_replies_have_their_code(said: bytes, code: Code, tmp_path: Path) -> None:
    with descriptor_clamd(tmp_path, replies(said)) as (_, clamd):
        assert (await scan(clamd)).code is code


async def test_files_are_streamed_where_the_limit_is_too_low(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond MaxFileSize clamd would report a heuristic's finding, where it refuses a stream for its size."""
    monkeypatch.setattr(client, "PROBE_TIMEOUT", 30.0)
    with descriptor_clamd(tmp_path, CLEAN, small=True) as (fake, clamd):
        assert (await scan(clamd)).verdict is Verdict.CLEAN
    assert fake.scanned == ["stream"]


async def test_files_are_streamed_where_descriptors_do_not_arrive(tmp_path: Path) -> None:
    """The socket may lead to another machine. The fake hangs up at a command that it does not know."""
    async with fake_clamd(says(b"stream: OK\0"), tmp_path) as fake:
        clamd = Clamd(fake.address, scratch=tmp_path, largest=LARGEST)
        assert (await scan(clamd)).verdict is Verdict.CLEAN


async def test_scanner_that_went_during_the_download_is_replaced(tmp_path: Path) -> None:
    """Its file is fetched again for the next one."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    with descriptor_clamd(one, CLEAN) as (gone, first), descriptor_clamd(other, CLEAN) as (_, second):
        assert (await scan(first)).verdict is Verdict.CLEAN
        opened = 0

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal opened
            opened += 1
            yield CONTENT[:1000]
            gone.listener.close()
            (one / "clamd.sock").unlink(missing_ok=True)
            yield CONTENT[1000:]

        @asynccontextmanager
        async def source() -> AsyncIterator[AsyncIterator[bytes]]:
            yield pieces()

        result = await ScannerPool([first, second]).scan(source, len(CONTENT))
        assert read_reply(result.reply).verdict is Verdict.CLEAN
        assert opened == 2


async def test_nothing_is_left_of_a_canceled_scan(tmp_path: Path) -> None:
    fetching = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield CONTENT
        fetching.set()
        await asyncio.Event().wait()

    @asynccontextmanager
    async def source() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    with descriptor_clamd(tmp_path, CLEAN) as (fake, clamd):
        scanning = asyncio.create_task(clamd.scan(source, 4 * len(CONTENT)))
        await fetching.wait()
        scanning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scanning
        assert "descriptor" not in fake.scanned
    assert names(tmp_path) == ["clamd.sock"]
