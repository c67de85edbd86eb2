"""Looks into documents in isolated child processes. The scan handler uses only this module."""

import asyncio
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from handlers.child_jobs import run_job
from handlers.sandbox import WorkerPool
from handlers.scan.documents.protocol import decode_reply
from media.errors import Code, RejectedError

SECONDS = 20.0
"""Seconds for everything that is done to one document: reading, repairing, rewriting. Most take 0.02."""
MEMORY = 1024 * 1024 * 1024
"""Bytes of address space of one child. A hundred thousand objects take some 350 MB."""
WORKERS = 2
"""Children. Two costly documents at once leave the others waiting for at most `SECONDS`."""
ROOM = 3
"""Sizes of a document that are reserved on disk: the upload, PDFium's copy and the rewritten one."""
_WORKER = "handlers.scan.documents.worker:build"


@dataclass(frozen=True, slots=True)
class InspectedDocument:
    """A document that may be served once its bytes are scanned. `size` is the upload's, in bytes.

    `written` is the document without encryption and without what acts, or None where it is the upload. It is to be
    scanned, and to be served instead of the upload with `must_serve_written`.
    """

    size: int
    pages: int
    written: Path | None
    must_serve_written: bool
    repaired: str
    removed: Mapping[str, int]


class DocumentInspector:
    """Owns the pool of children. An async context manager."""

    def __init__(self, folder: Path | None = None, *, seconds: float = SECONDS, max_bytes: int) -> None:
        """Let children see `folder`, where documents lie, and no other files; None: every file.

        `max_bytes` bounds a document. What a child writes may have twice as many.
        """
        self._seconds = seconds
        self._pool = WorkerPool(
            _WORKER,
            workers=WORKERS,
            memory=MEMORY,
            file_bytes=2 * max_bytes,
            timeout=seconds,
            folders=(folder,) if folder else None,
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.__aexit__(error_type, error, trace)

    async def inspect(self, source: Path, target: Path) -> InspectedDocument:
        """Look into the document `source`, once a child is free, and write it to `target` where that is needed.

        Both are absolute paths: the child works elsewhere.
        Raises RejectedError: `encrypted`, `active_content`, `corrupt`, `resource_limit`; RetryableError
        `worker_crashed` when no child could be started or the disk is full, `unforeseen` (`corrupt` when the attempts
        are exhausted) when a child met an unforeseen error.
        """
        job = json.dumps([str(source), str(target)])
        reply = await run_job(
            self._pool,
            job,
            decode_reply,
            seconds=self._seconds,
            folder=target.parent,
            code_when_exhausted=Code.CORRUPT,
        )
        if isinstance(reply, RejectedError):
            raise reply
        size = (await asyncio.to_thread(source.stat)).st_size
        written = target if reply.written else None
        # A compromised child may write anything: accept only a plain file.
        if written and not stat.S_ISREG((await asyncio.to_thread(written.lstat)).st_mode):
            raise RejectedError(Code.RESOURCE_LIMIT, "the child left something else than a document")
        must_serve_written = reply.must_serve_written and written is not None
        return InspectedDocument(size, reply.pages, written, must_serve_written, reply.repaired, reply.removed)
