"""The head of a stream tells its type."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.scan.stream_inspector import StreamInspector
from handlers.sniff import sniff
from media.asset import AssetType

FRAME = b"\xff\xfb\x90\x64" + bytes(100)


async def head_of(asset_type: AssetType, *pieces: bytes) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    inspector = StreamInspector(asset_type)
    async for _ in inspector.inspect(stream()):
        pass
    await inspector.finish()
    return inspector.head


@pytest.mark.parametrize("pieces", [(bytes(9000) + FRAME,), (bytes(5000), bytes(70_000), FRAME), (bytes(4096), FRAME)])
async def test_zeros_before_sound_are_left_out(pieces: tuple[bytes, ...]) -> None:
    assert sniff(await head_of(AssetType.AUDIO, *pieces)) == "audio/mpeg"
    assert sniff(await head_of(AssetType.DOCUMENT, *pieces)) is None


async def test_zeros_alone_have_no_type() -> None:
    assert sniff(await head_of(AssetType.AUDIO, bytes(9000))) is None


async def test_a_second_scanner_begins_anew(tmp_path: Path) -> None:
    async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    inspector = StreamInspector(AssetType.IMAGE, tmp_path / "copy")
    async for _ in inspector.inspect(stream(b"cut off")):
        pass
    async for _ in inspector.inspect(stream(b"all", b" of it")):
        pass
    await inspector.finish()
    assert (inspector.size, inspector.head, inspector.picture) == (9, b"all of it", [b"all", b" of it"])
    assert inspector.sha256 == hashlib.sha256(b"all of it").hexdigest()
    assert (await asyncio.to_thread((tmp_path / "copy").read_bytes)) == b"all of it"
