"""A file is clean only by the exact reply, after the scanner was sent every byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Address, Reply, instream
from handlers.scan.clamd.self_test import source_of
from handlers.scan.clamd.verdict import read_reply
from media.asset import Verdict
from media.errors import Code, Dependency, UnavailableError
from tests.unit.handlers.scan.clamd.fake_clamd import BAD, dies_mid_stream, fake_clamd, says

CONTENT = bytes(range(256)) * 8192
LARGE = bytes(16 << 20)
"""More than fits into the kernel's buffers, so that an early reply comes before all bytes are sent."""
SHORT = 0.4


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize("behavior", BAD)
async def test_never_clean(behavior: str, kind: str, tmp_path: Path) -> None:
    async with fake_clamd(BAD[behavior], tmp_path if kind == "unix" else None) as fake:
        clamd = Clamd(fake.address, timeout=SHORT)
        try:
            content = LARGE if "ok" in behavior else CONTENT
            finding = read_reply(await clamd.scan(source_of(content), len(content)))
        except TimeoutError:
            return
        assert finding.verdict is Verdict.ERROR, finding


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_clean_is_clean(kind: str, tmp_path: Path) -> None:
    async with fake_clamd(says(b"stream: OK\0"), tmp_path if kind == "unix" else None) as fake:
        reply = await Clamd(fake.address).scan(source_of(CONTENT), len(CONTENT))
    assert read_reply(reply).verdict is Verdict.CLEAN


async def test_reply_is_read_after_a_broken_pipe() -> None:
    async def refuses(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INSTREAM size limit exceeded. ERROR\0")

    async with fake_clamd(refuses) as fake:
        reply = await instream(fake.address, source_of(CONTENT * 8))
    assert read_reply(reply).code is Code.TOO_LARGE_TO_SCAN


async def test_an_early_infection_counts() -> None:
    async def finds(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1000)
        writer.write(b"stream: Eicar-Test-Signature FOUND\0")

    async with fake_clamd(finds) as fake:
        reply = await instream(fake.address, source_of(CONTENT * 8))
    assert read_reply(reply).code is Code.INFECTED


async def test_source_that_fails_leaves_no_verdict() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield CONTENT
        raise UnavailableError(Dependency.S3, "cut")

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    async with fake_clamd(says(b"stream: OK\0")) as fake:
        clamd = Clamd(fake.address)
        with pytest.raises(UnavailableError) as caught:
            await clamd.scan(opened, len(CONTENT))
    assert caught.value.dependency is Dependency.S3
    assert not clamd.backing_off, "the scanner is not to blame"


async def test_source_is_not_opened_when_clamd_is_dead(tmp_path: Path) -> None:
    opened = []

    @asynccontextmanager
    async def source() -> AsyncIterator[AsyncIterator[bytes]]:
        opened.append(1)
        async with source_of(b"x")() as pieces:
            yield pieces

    async with fake_clamd(dies_mid_stream, tmp_path) as fake:
        address = fake.address
    with pytest.raises(UnavailableError):
        await Clamd(address).scan(source, 1)
    assert not opened


async def test_end_before_the_first_byte_is_an_outage() -> None:
    """Clamd goes while the source is slow."""
    gone = asyncio.Event()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\0")
        writer.close()
        await writer.wait_closed()
        gone.set()

    async def pieces() -> AsyncIterator[bytes]:
        await gone.wait()
        yield CONTENT

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        with pytest.raises(UnavailableError, match="before it was sent the file"):
            await instream(Address(*server.sockets[0].getsockname()[:2]), opened)


@pytest.mark.parametrize(("pieces", "raised"), [([], UnavailableError), ([b"x"], TimeoutError)])
async def test_silence_is_the_files_fault_only_once_clamd_has_a_byte_of_it(
    pieces: list[bytes], raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.scan.clamd.liveness.INTERVAL", 0.01)

    async def slow() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        fake.alive = False
        await asyncio.Event().wait()

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        yield slow()

    async def read_on(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with fake_clamd(read_on) as fake:
        clamd = Clamd(fake.address)
        with pytest.raises(raised):
            await clamd.scan(opened, 10)
        assert clamd.backing_off


@given(st.binary(max_size=60) | st.sampled_from([b"stream: OK", b"stream: OK\0"]), st.booleans())
def test_only_the_exact_reply_is_clean(said: bytes, complete: bool) -> None:
    clean = read_reply(Reply(said, complete)).verdict is Verdict.CLEAN
    assert clean == (said == b"stream: OK\0" and complete)


@given(st.binary(max_size=12), st.integers(0, 11), st.integers(0, 11))
def test_altered_reply_is_not_clean(junk: bytes, start: int, end: int) -> None:
    word = b"stream: OK\0"
    said = word[:start] + junk + word[end:]
    assert (read_reply(Reply(said, complete=True)).verdict is Verdict.CLEAN) == (said == word)


@pytest.mark.parametrize(
    ("said", "verdict", "code"),
    [
        (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", Verdict.INFECTED, Code.INFECTED),
        (b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0", Verdict.UNSCANNABLE, Code.UNSCANNABLE),
        (b"stream: Heuristics.Encrypted.PDF FOUND\0", Verdict.UNSCANNABLE, Code.ENCRYPTED),
        (b"INSTREAM size limit exceeded. ERROR\0", Verdict.UNSCANNABLE, Code.TOO_LARGE_TO_SCAN),
        (b"stream: FOUND\0", Verdict.ERROR, Code.SCANNER_ERROR),
        (b"stream:  FOUND\0", Verdict.ERROR, Code.SCANNER_ERROR),
        (b"stream: A FOUND\0stream: OK\0", Verdict.ERROR, Code.SCANNER_ERROR),
    ],
)
def test_other_replies_have_their_verdict(said: bytes, verdict: Verdict, code: Code) -> None:
    finding = read_reply(Reply(said, complete=True))
    assert (finding.verdict, finding.code) == (verdict, code)
