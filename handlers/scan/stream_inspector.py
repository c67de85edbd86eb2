"""Sees every byte on its way to the scanner, so that nobody has to read the file a second time."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from handlers.scan.pdf import MOST_EFFORT, PdfWatch
from handlers.sniff import HEAD_BYTES
from media.asset import AssetType
from media.errors import Code, RejectedError

BATCH = 4 * 1024 * 1024
"""Bytes looked at in one go; twice that is held at most. The last go falls into the time in which clamd scans."""
_READERS = ThreadPoolExecutor(2, thread_name_prefix="pdf")
"""Documents wait for each other, and nobody waits for them: one may take seconds of a thread."""

_DIGESTED = frozenset({AssetType.IMAGE, AssetType.DOCUMENT})
"""Whose digest is taken: who renders a picture compares it. A film of 50 GB would cost 40 s of a core for nobody."""


class StreamInspector:
    """Size in bytes, first bytes, the SHA-256 of what is not a recording, and what a PDF brings along."""

    def __init__(self, asset_type: AssetType) -> None:
        self.size = 0
        self.head = b""
        self._pdf = PdfWatch() if asset_type is AssetType.DOCUMENT else None
        self._digest = hashlib.sha256() if asset_type in _DIGESTED else None
        self._looking: asyncio.Future[None] | None = None

    @property
    def sha256(self) -> str | None:
        """Of what went by; None for a film or sound. Only after `finish`."""
        return self._digest.hexdigest() if self._digest else None

    async def watch(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Passes the pieces on and looks at them in a thread, a batch at a time: to wait for each would cost more."""
        batch: list[bytes] = []
        held = 0
        async for piece in pieces:
            self.size += len(piece)
            self.head += piece[: HEAD_BYTES - len(self.head)]
            if self._digest:
                batch.append(piece)
                held += len(piece)
            if held >= BATCH:
                await self._look_at(batch)
                batch, held = [], 0
            yield piece
        if batch:
            await self._look_at(batch)

    async def finish(self) -> None:
        """Returns when all that went by was looked at."""
        if self._looking:
            await self._looking

    def require_harmless(self) -> None:
        """Raise RejectedError when the document is encrypted, runs something, is none, or cannot be looked into."""
        if self._pdf is None:
            return
        if self._pdf.encrypted:
            raise RejectedError(Code.ENCRYPTED, "the document is encrypted")
        if self._pdf.active:
            raise RejectedError(Code.ACTIVE_CONTENT, "the document contains scripts")
        if self._pdf.opaque:
            raise RejectedError(Code.UNSCANNABLE, f"the document cannot be looked into: {self._pdf.opaque}")
        if self._pdf.costly:
            raise RejectedError(Code.RESOURCE_LIMIT, f"looking into the document takes more than {MOST_EFFORT:g} s")
        if self._pdf.empty:
            raise RejectedError(Code.CORRUPT, "the document has no pages that a reader would find")

    async def _look_at(self, batch: Sequence[bytes]) -> None:
        """Start on a batch once the one before it is done."""
        await self.finish()
        threads = _READERS if self._pdf else None
        self._looking = asyncio.get_running_loop().run_in_executor(threads, self._look, batch)

    def _look(self, batch: Sequence[bytes]) -> None:
        for piece in batch:
            if self._digest:
                self._digest.update(piece)
            if self._pdf:
                self._pdf.feed(piece)
