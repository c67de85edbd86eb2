"""Renders pictures in isolated child processes. The image handler uses only this module."""

import asyncio
import stat
from collections.abc import Container, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from handlers.child_jobs import run_job
from handlers.image.decoding.formats import recognize
from handlers.image.geometry import WIDTHS
from handlers.image.protocol import (
    JobKind,
    MadeFile,
    RefusedPicture,
    RenderedJob,
    RenderJob,
    Survey,
    UnforeseenFailure,
    decode_reply,
)
from handlers.sandbox import ByteBudget, WorkerPool
from handlers.sniff import HEAD_BYTES
from media.errors import Code, RejectedError, RetryableError

log = structlog.get_logger(__name__)

CONTENT_TYPE = "image/webp"
FILE_LIMIT = 64 * 1024 * 1024
"""Bytes of one file that a child may write, far above any rendition."""
_WORKER = "handlers.image.worker:build"
_NAMES = frozenset(f"w{width}" for width in WIDTHS)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The limits on a picture and on the children.

    `max_bytes` of the file, `max_pixels` of one frame, `max_total_pixels` of all frames; `memory`, the bytes of address
    space of one child; `timeout`, the seconds of one job; `workers`, the children; `budget`, the bytes that all
    pictures in flight may need together.
    """

    max_bytes: int
    max_pixels: int
    max_total_pixels: int
    memory: int
    timeout: float
    workers: int
    budget: int


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One rendition on disk. Sizes are pixels and bytes."""

    name: str
    path: Path
    content_type: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """A picture and its renditions, smallest first.

    `width` and `height` are the upright source's, `content_type` its true type; `placeholder` is a ThumbHash in base64,
    `dominant_color` `#rrggbb`, `sha256` the hex digest of the source; `notes` say how the renditions differ from it.
    """

    width: int
    height: int
    content_type: str
    placeholder: str
    dominant_color: str
    sha256: str
    notes: tuple[str, ...]
    files: tuple[RenderedFile, ...]


class ImageRenderer:
    """Owns the pool of children. An async context manager."""

    def __init__(self, limits: ImageLimits, folder: Path | None = None) -> None:
        """Let children see `folder`, where sources and outputs lie, and no other files; None: every file."""
        self._limits = limits
        self._budget = ByteBudget(limits.budget)
        self._pool = WorkerPool(
            _WORKER,
            workers=limits.workers,
            memory=limits.memory,
            file_bytes=FILE_LIMIT,
            timeout=limits.timeout,
            folders=(folder,) if folder else None,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._pool)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def render(self, source: Path, out_dir: Path) -> RenderedImage:
        """Write `w150.webp` … `w1920.webp` of a picture into `out_dir`, once memory and a child are free.

        Raises RejectedError: `empty`, `too_large`, `type_mismatch`, `unsupported`, `corrupt`, `too_many_pixels`,
        `resource_limit`; RetryableError `worker_crashed` when no child could be started or the disk is full;
        RetryableError `unforeseen` (`corrupt` when the attempts are exhausted) when a child met an unforeseen error.
        `out_dir` must exist. After any error, cancellation included, it holds none of the files.
        """
        content_type = await asyncio.to_thread(_check_source, source, self._limits.max_bytes)
        try:
            survey = await self._ask(self._job(JobKind.SURVEY, source, content_type, out_dir))
            needed = survey.memory if isinstance(survey, Survey) else self._limits.memory
            # A child cannot need more than it may have.
            async with self._budget.reserve(min(needed, self._limits.memory)):
                rendered = await self._ask(self._job(JobKind.RENDER, source, content_type, out_dir))
            return await asyncio.to_thread(_check_outputs, rendered, content_type, out_dir)
        except BaseException:
            for name in _NAMES:
                (out_dir / f"{name}.webp").unlink(missing_ok=True)
            raise

    def _job(self, kind: JobKind, source: Path, content_type: str, out_dir: Path) -> RenderJob:
        return RenderJob(
            kind=kind,
            source=str(source.absolute()),  # the child works elsewhere
            content_type=content_type,
            out_dir=str(out_dir.absolute()),
            max_pixels=self._limits.max_pixels,
            max_total_pixels=self._limits.max_total_pixels,
        )

    async def _ask(self, job: RenderJob) -> Survey | RenderedJob:
        """Return the child's reply. Raises RejectedError and RetryableError."""
        seconds, folder = 2 * self._limits.timeout, Path(job.out_dir)
        reply = await run_job(self._pool, job.encode(), decode_reply, seconds=seconds, folder=folder)
        if isinstance(reply, RefusedPicture):
            raise RejectedError(reply.code, reply.detail)
        if isinstance(reply, UnforeseenFailure):
            log.error("image.unforeseen", trace=reply.trace)
            raise RetryableError(
                Code.UNFORESEEN, reply.trace.strip().rpartition("\n")[2], code_when_exhausted=Code.CORRUPT
            )
        return reply


def _check_source(source: Path, max_bytes: int) -> str:
    """Return the true type of a file. Raises RejectedError for its size or type."""
    size = source.stat().st_size
    if size > max_bytes:
        raise RejectedError(Code.TOO_LARGE, f"{size} bytes; at most {max_bytes} are read")
    with source.open("rb") as file:
        return recognize(file.read(HEAD_BYTES))


def _check_outputs(reply: Survey | RenderedJob, content_type: str, out_dir: Path) -> RenderedImage:
    """Describe the files that a child wrote. Raises RejectedError for one that is no rendition."""
    if not isinstance(reply, RenderedJob):
        raise RejectedError(Code.RESOURCE_LIMIT, "the child answered another question")
    return RenderedImage(
        width=reply.width,
        height=reply.height,
        content_type=content_type,
        placeholder=reply.placeholder,
        dominant_color=reply.dominant_color,
        sha256=reply.sha256,
        notes=reply.notes,
        files=describe_files(reply.files, out_dir, _NAMES),
    )


def describe_files(files: Sequence[MadeFile], out_dir: Path, names: Container[str]) -> tuple[RenderedFile, ...]:
    """Describe files of these names that a child wrote. Raises RejectedError for one that is no rendition."""
    described = []
    for made in files:
        path = out_dir / f"{made.name}.webp"
        # A compromised child may name or write anything: accept only a plain file under one of our names.
        if made.name not in names or not stat.S_ISREG(path.lstat().st_mode):
            raise RejectedError(Code.RESOURCE_LIMIT, "the child left something else than a rendition")
        described.append(RenderedFile(made.name, path, CONTENT_TYPE, made.width, made.height, path.lstat().st_size))
    return tuple(described)
