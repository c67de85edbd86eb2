"""Takes segments from an engine's working directory to S3 as they are finished, and forgets them there."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from handlers.transcode.ffmpeg import transport_stream
from handlers.transcode.packaging.outputs import SEGMENT_TYPE
from media.aws.s3_transfer import ObjectTransfer
from media.errors import Code, RetryableError

PARALLEL = 4
"""Uploads under way at once; each holds one segment in memory, some 6 MB at 1080p."""
BACKLOG = 256 * 1024 * 1024
"""Bytes of finished segments that may wait on the disk: about a hundred seconds of the whole ladder."""


@dataclass(frozen=True, slots=True)
class UploadedSegments:
    """One segment that was uploaded: its file's name, bytes, and what is inside."""

    name: str
    size: int
    inside: transport_stream.WrittenSegment


class SegmentUploader:
    """Uploads what appears in `folder` under `prefix`. An upload that fails is told by the next call."""

    def __init__(self, transfer: ObjectTransfer, folder: Path, bucket: str, prefix: str) -> None:
        self._transfer = transfer
        self._folder = folder
        self._bucket = bucket
        self._prefix = prefix
        self._room = asyncio.Semaphore(PARALLEL)
        self._under_way: dict[asyncio.Task[None], int] = {}
        self._taken: set[str] = set()
        self.uploaded_segments: dict[str, UploadedSegments] = {}

    async def collect(self) -> None:
        """Begin to upload what is finished by now; wait while too much of it is still here."""
        for path, size in await asyncio.to_thread(self._finished):
            self._taken.add(path.name)
            self._under_way[asyncio.create_task(self._ship(path, size))] = size
        await self._settle(BACKLOG)

    async def finish(self) -> None:
        """All that is left."""
        await self.collect()
        await self._settle(0)

    async def abandon(self) -> None:
        """Stop all uploads and wait until they have stopped."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _finished(self) -> list[tuple[Path, int]]:
        paths = [path for path in sorted(self._folder.glob("*.ts")) if path.name not in self._taken]
        return [(path, path.stat().st_size) for path in paths]

    async def _settle(self, backlog: int) -> None:
        """Wait until at most `backlog` bytes are under way. Raises what an upload raised."""
        while self._under_way:
            done = {task for task in self._under_way if task.done()}
            if not done:
                if sum(self._under_way.values()) <= backlog:
                    return
                done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del self._under_way[task]
                task.result()

    async def _ship(self, path: Path, size: int) -> None:
        async with self._room:
            inside = await asyncio.to_thread(_inspect, path)
            await self._transfer.upload(self._bucket, self._prefix + path.name, path, SEGMENT_TYPE)
            await asyncio.to_thread(path.unlink)
        self.uploaded_segments[path.name] = UploadedSegments(path.name, size, inside)


def _inspect(path: Path) -> transport_stream.WrittenSegment:
    """Raises RetryableError for a segment that was not written whole: of that ffmpeg says nothing."""
    try:
        return transport_stream.inspect(path.read_bytes())
    except ValueError as error:
        raise RetryableError(Code.TRANSCODER_ERROR, f"ffmpeg left no whole {path.name}: {error}") from error
