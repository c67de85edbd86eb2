"""Inspects a file while it streams to the scanner, so that it is read only once."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

from handlers.held_pictures import LARGEST
from handlers.scan.batches import Batches
from handlers.sniff import HEAD_BYTES
from media.asset import AssetType

_DIGESTED = frozenset({AssetType.IMAGE, AssetType.DOCUMENT})
"""Types that are hashed; the renderer compares a picture's digest. No one needs a video's: 50 GB take 40 s of CPU."""


class StreamInspector:
    """Collects the size in bytes, the first bytes, and the SHA-256 of pictures and documents; writes a copy."""

    def __init__(self, asset_type: AssetType, copy: Path | None = None) -> None:
        """Write the bytes to `copy` too. Only types that are hashed can be copied."""
        self.size = 0
        self.head = b""
        self.picture: list[bytes] | None = [] if asset_type is AssetType.IMAGE else None
        """The pieces of a picture, unless it is too large to be held."""
        self._skips_zeros = asset_type is AssetType.AUDIO
        self._copy = copy and copy.open("wb")
        self._digest = hashlib.sha256() if asset_type in _DIGESTED else None
        self._batches = Batches(self._work)

    @property
    def sha256(self) -> str | None:
        """The digest of the stream; None for video and audio. Valid after `finish`."""
        return self._digest.hexdigest() if self._digest else None

    async def inspect(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Yield the pieces, and inspect them. The last batch is inspected while clamd scans."""
        if self.size:  # begin anew: another scanner stands in for the one that got the stream's beginning
            await self._batches.finish()
            self._batches, self.size, self.head = Batches(self._work), 0, b""
            self._digest, self.picture = self._digest and hashlib.sha256(), self.picture and []
            if self._copy:
                self._copy.seek(0)
                self._copy.truncate()
        async for piece in pieces:
            self.size += len(piece)
            self._collect_head(piece)
            if self.picture is not None:
                self.picture.append(piece)
                self.picture = self.picture if self.size <= LARGEST else None
            if self._digest:
                await self._batches.add(piece)
            yield piece
        if self._digest:
            await self._batches.flush()

    def _collect_head(self, piece: bytes) -> None:
        """Keep the first bytes. Of sound, zeros before it are left out, as its readers do: one of them stays."""
        room = HEAD_BYTES - len(self.head)
        self.head += piece[:room]
        if self._skips_zeros and len(self.head) == HEAD_BYTES and not any(self.head):
            self.head = b"\0" + piece[room:].lstrip(b"\0")[: HEAD_BYTES - 1]

    async def finish(self) -> None:
        """Wait until every piece is inspected and copied."""
        await self._batches.finish()
        if self._copy:
            self._copy.close()

    def _work(self, batch: Sequence[bytes]) -> None:
        for piece in batch:
            if self._digest:
                self._digest.update(piece)
            if self._copy:
                self._copy.write(piece)
