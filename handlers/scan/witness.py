"""Sees every byte on its way to the scanner, so that nobody has to read the file a second time."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator

from handlers.scan.pdf import PdfWatch
from handlers.sniff import HEAD_BYTES
from media.asset import AssetType
from media.errors import Code, RejectedError


class Witness:
    """Size in bytes, SHA-256, first bytes, and what a PDF brings along."""

    def __init__(self, asset_type: AssetType) -> None:
        self.size = 0
        self.head = b""
        self._pdf = PdfWatch() if asset_type is AssetType.DOCUMENT else None
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def watch(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Passes the pieces on, each once it was looked at.

        Hashing a piece takes less time than handing it to a thread and waiting for it; what a PDF needs takes more.
        """
        async for piece in pieces:
            self.size += len(piece)
            self._digest.update(piece)
            if len(self.head) < HEAD_BYTES:
                self.head += piece[: HEAD_BYTES - len(self.head)]
            if self._pdf:
                await asyncio.to_thread(self._pdf.feed, piece)
            yield piece

    def require_harmless(self) -> None:
        """Raise RejectedError when the document is encrypted, runs something, or cannot be looked into."""
        if self._pdf and self._pdf.encrypted:
            raise RejectedError(Code.ENCRYPTED, "the document is encrypted")
        if self._pdf and self._pdf.active:
            raise RejectedError(Code.ACTIVE_CONTENT, "the document contains scripts")
        if self._pdf and self._pdf.opaque:
            raise RejectedError(Code.UNSCANNABLE, f"the document cannot be looked into: {self._pdf.opaque}")
