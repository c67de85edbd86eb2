"""The consumer is told why there is no clamd, and nothing is called clean meanwhile."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.ports import free_port
from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Address, connect
from handlers.scan.clamd.pool import ScannerPool
from handlers.scan.clamd.self_test import source_of
from handlers.scan.signatures.keeper import Placeholder
from media.errors import UnavailableError

REASON = "bucket: no signatures were published yet; mirror: freshclam, status 11"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="sig-") as name:
        yield Path(name)


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, folder: Path) -> Address:
    return Address("127.0.0.1", free_port()) if request.param == "tcp" else Address(path=str(folder / "s"))


async def test_consumer_is_told_the_reason(address: Address, folder: Path) -> None:
    pool = ScannerPool([Clamd(address)])
    async with Placeholder(address, folder / "waiting").answering(REASON):
        assert (folder / "waiting").read_text() == f"no signatures: {REASON}\n"
        with pytest.raises(UnavailableError, match=REASON):
            await pool.ping()
        with pytest.raises(UnavailableError, match=REASON):
            await pool.scan(source_of(b"harmless"), 8)
    assert not (folder / "waiting").exists()
    with pytest.raises(UnavailableError):
        await pool.ping()


async def test_client_that_says_nothing_does_not_hold_up_the_start(
    address: Address, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.scan.signatures.keeper.COMMAND_DEADLINE", 0.2)
    async with asyncio.timeout(30), Placeholder(address, folder / "waiting").answering(REASON):
        silent = await connect(address)
    silent.close()


async def test_port_that_is_taken_is_left_alone(folder: Path) -> None:
    address = Address("127.0.0.1", free_port())
    first, second = (Placeholder(address, folder / name) for name in ("one", "two"))
    async with first.answering(REASON), second.answering("other"):
        with pytest.raises(UnavailableError, match=REASON):
            await Clamd(address).refresh()
