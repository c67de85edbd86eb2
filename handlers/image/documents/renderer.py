"""Renders pages of documents in isolated child processes. The image handler uses only this module."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from handlers.child_jobs import run_job
from handlers.image.documents.protocol import PageJob, RenderedPage, decode_reply
from handlers.image.geometry import WIDTHS
from handlers.image.renderer import RenderedFile, describe_files
from handlers.sandbox import WorkerPool
from media.errors import Code, RejectedError, RetryableError

SECONDS = 20.0
"""Seconds for one page, the second try after a crash included. Most take 0.1."""
SECONDS_PER_PAGE = 0.5
"""Seconds that the clock of a document gets for each further page."""
MEMORY = 512 * 1024 * 1024
"""Bytes of address space of one child: 256 MiB of its own, and as many for a page."""
FILE_LIMIT = 16 * 1024 * 1024
"""Bytes of one file that a child may write, far above any page."""
WORKERS = 2
"""Children. Each document has one at a time."""
_WORKER = "handlers.image.documents.worker:build"


@dataclass(frozen=True, slots=True)
class RenderedDocument:
    """The pictures of a document's pages, and what a page shows before the first one is loaded.

    `left_out` maps the number of a page that could not be made to the reason.
    """

    placeholder: str
    dominant_color: str
    files: tuple[RenderedFile, ...]
    left_out: dict[int, str]


class PageRenderer(WorkerPool):
    """A pool of children that render pages. An async context manager."""

    def __init__(self, folder: Path | None = None, *, seconds: float = SECONDS) -> None:
        """Let children see `folder`, where documents and outputs lie, and no other files; None: every file."""
        folders = (folder,) if folder else None
        super().__init__(
            _WORKER, workers=WORKERS, memory=MEMORY, file_bytes=FILE_LIMIT, timeout=seconds, folders=folders
        )
        self._seconds = seconds
        # Time counts only while a child works for the document, and others may come in between two pages.
        self._turns = asyncio.Semaphore(WORKERS)

    async def render(self, source: Path, out_dir: Path, *, pages: int) -> RenderedDocument:
        """Write the first page as a picture (`w150.webp` … `w1024.webp`), and the first `pages` as `page-1.webp` ….

        All pages share one clock. Later pages that cannot be made are left out.
        Raises RejectedError `corrupt` or `resource_limit` when the first page cannot be made; RetryableError
        `worker_crashed` when no child could be started or the disk is full, `unforeseen` when a child met an unforeseen
        error.
        """
        clock = _Clock(self._seconds)
        first = await self._render(PageJob(str(source), str(out_dir), 1, True, pages > 0), clock)
        clock.left += SECONDS_PER_PAGE * max(0, pages - 1)
        files, left_out = list(first.files), dict[int, str]()
        for number in range(2, pages + 1):
            try:
                made = await self._render(PageJob(str(source), str(out_dir), number, False, True), clock)
            except (RejectedError, RetryableError) as error:
                if isinstance(error, RetryableError) and error.code is not Code.UNFORESEEN:
                    raise
                left_out[number] = str(error)
            else:
                files += made.files
        names = {f"w{width}" for width in WIDTHS} | {f"page-{number}" for number in range(1, pages + 1)}
        checked = await asyncio.to_thread(describe_files, files, out_dir, names)
        return RenderedDocument(first.placeholder, first.dominant_color, checked, left_out)

    async def _render(self, job: PageJob, clock: "_Clock") -> RenderedPage:
        """Have one page rendered, once a child is free. Raises RejectedError and RetryableError."""
        async with self._turns, clock.running(self._seconds):
            reply = await run_job(self, job.encode(), decode_reply, seconds=self._seconds, folder=Path(job.out_dir))
        if isinstance(reply, RejectedError):
            raise reply
        return reply


@dataclass(slots=True)
class _Clock:
    """The seconds that are left for a document."""

    left: float

    @asynccontextmanager
    async def running(self, most: float) -> AsyncIterator[None]:
        """Count the block's time, and end it when the time is over. Raises RejectedError(resource_limit)."""
        if self.left <= 0:
            raise RejectedError(Code.RESOURCE_LIMIT, "no time is left for this document")
        begun = time.monotonic()
        try:
            async with asyncio.timeout(min(self.left, most)):
                yield
        except TimeoutError as error:
            raise RejectedError(Code.RESOURCE_LIMIT, "the time for the document was over") from error
        finally:
            self.left -= time.monotonic() - begun
