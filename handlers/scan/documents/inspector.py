"""Looks into documents in isolated child processes. The scan handler uses only this module."""

import asyncio
import json
from pathlib import Path

from handlers.child_jobs import run_job
from handlers.sandbox import WorkerPool
from handlers.scan.documents.protocol import DocumentReport, decode_reply
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


class DocumentInspector(WorkerPool):
    """A pool of children that look into documents. An async context manager."""

    def __init__(self, folder: Path | None = None, *, seconds: float = SECONDS, max_bytes: int) -> None:
        """Let children see `folder`, where documents lie, and no other files; None: every file.

        `max_bytes` bounds a document. What a child writes may have twice as many.
        """
        folders = (folder,) if folder else None
        super().__init__(
            _WORKER, workers=WORKERS, memory=MEMORY, file_bytes=2 * max_bytes, timeout=seconds, folders=folders
        )
        self._seconds = seconds

    async def inspect(self, source: Path, target: Path) -> DocumentReport:
        """Look into the document `source`, once a child is free, and write it to `target` where that is needed.

        Both are absolute paths: the child works elsewhere.
        Raises RejectedError: `encrypted`, `active_content`, `corrupt`, `resource_limit`; RetryableError
        `worker_crashed` when no child could be started or the disk is full, `unforeseen` (`corrupt` when the attempts
        are exhausted) when a child met an unforeseen error.
        """
        job = json.dumps([str(source), str(target)])
        reply = await run_job(
            self,
            job,
            decode_reply,
            seconds=self._seconds,
            folder=target.parent,
            code_when_exhausted=Code.CORRUPT,
        )
        if isinstance(reply, RejectedError):
            raise reply
        # A compromised child may write anything: accept only a plain file.
        is_file = await asyncio.to_thread(target.is_file) and not await asyncio.to_thread(target.is_symlink)
        if reply.written and not is_file:
            raise RejectedError(Code.RESOURCE_LIMIT, "the child left something else than a document")
        return reply
