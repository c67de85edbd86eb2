"""Inspects a file while it streams to the scanner, so that it is read only once."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from handlers.scan.pdf import MOST_EFFORT, PdfWatch
from handlers.sniff import HEAD_BYTES
from media.asset import AssetType
from media.errors import Code, RejectedError

BATCH = 4 * 1024 * 1024
"""Bytes inspected at once. Twice as many are held at most. The last batch is inspected while clamd scans."""
_PDF_THREADS = ThreadPoolExecutor(2, thread_name_prefix="pdf")
"""Threads for documents only: one may take seconds, and pictures must not wait for it."""

_DIGESTED = frozenset({AssetType.IMAGE, AssetType.DOCUMENT})
"""Types that are hashed; the renderer compares a picture's digest. No one needs a video's: 50 GB take 40 s of CPU."""


class StreamInspector:
    """Collects the size in bytes, the first bytes, the SHA-256 of pictures and documents, and the findings in a PDF."""

    def __init__(self, asset_type: AssetType) -> None:
        self.size = 0
        self.head = b""
        self._pdf = PdfWatch() if asset_type is AssetType.DOCUMENT else None
        self._digest = hashlib.sha256() if asset_type in _DIGESTED else None
        self._inspecting: asyncio.Future[None] | None = None

    @property
    def sha256(self) -> str | None:
        """The digest of the stream; None for video and audio. Valid after `finish`."""
        return self._digest.hexdigest() if self._digest else None

    async def inspect(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Yield the pieces, and inspect them in a thread, in batches: to wait for every piece would cost more."""
        batch: list[bytes] = []
        held = 0
        async for piece in pieces:
            self.size += len(piece)
            self.head += piece[: HEAD_BYTES - len(self.head)]
            if self._digest:
                batch.append(piece)
                held += len(piece)
            if held >= BATCH:
                await self._inspect_batch(batch)
                batch, held = [], 0
            yield piece
        if batch:
            await self._inspect_batch(batch)

    async def finish(self) -> None:
        """Wait until every piece is inspected."""
        if self._inspecting:
            await self._inspecting

    def require_harmless(self) -> None:
        """Raise RejectedError when a document is encrypted, active, empty, or cannot be inspected in time."""
        if self._pdf is None:
            return
        if self._pdf.encrypted:
            raise RejectedError(Code.ENCRYPTED, "the document is encrypted")
        if self._pdf.active:
            raise RejectedError(Code.ACTIVE_CONTENT, "the document contains scripts")
        if self._pdf.uninspectable:
            raise RejectedError(Code.UNSCANNABLE, f"the document cannot be looked into: {self._pdf.uninspectable}")
        if self._pdf.timed_out:
            raise RejectedError(Code.RESOURCE_LIMIT, f"looking into the document takes more than {MOST_EFFORT:g} s")
        if self._pdf.empty:
            raise RejectedError(Code.CORRUPT, "the document has no pages that a reader would find")

    async def _inspect_batch(self, batch: Sequence[bytes]) -> None:
        """Start on a batch in a thread, once the one before it is done."""

        def work() -> None:
            for piece in batch:
                if self._digest:
                    self._digest.update(piece)
                if self._pdf:
                    self._pdf.feed(piece)

        await self.finish()
        threads = _PDF_THREADS if self._pdf else None
        self._inspecting = asyncio.get_running_loop().run_in_executor(threads, work)
