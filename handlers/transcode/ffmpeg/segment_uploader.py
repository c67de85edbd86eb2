"""Uploads finished segments from ffmpeg's working directory to S3, and deletes them there."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from handlers.transcode.ffmpeg import transport_stream
from handlers.transcode.packaging.outputs import SEGMENT_TYPE
from media.aws.s3_transfer import ObjectTransfer
from media.errors import Code, RetryableError

PARALLEL = 4
"""Uploads under way at once. Each holds one segment in memory, about 6 MB at 1080p."""
BACKLOG = 256 * 1024 * 1024
"""Bytes of finished segments that may wait on the disk, about a hundred seconds of the whole ladder."""


@dataclass(frozen=True, slots=True)
class UploadedSegment:
    """One segment that was uploaded: its file's name, its size in bytes, and its key frames."""

    name: str
    size: int
    content: transport_stream.WrittenSegment


class SegmentUploader:
    """Uploads the segments that appear in `folder` to `prefix`. The next call raises the error of a failed upload."""

    def __init__(self, transfer: ObjectTransfer, folder: Path, bucket: str, prefix: str) -> None:
        self._transfer = transfer
        self._folder = folder
        self._bucket = bucket
        self._prefix = prefix
        self._slots = asyncio.Semaphore(PARALLEL)
        self._under_way: dict[asyncio.Task[None], int] = {}
        self._collected: set[str] = set()
        self.uploaded_segments: dict[str, UploadedSegment] = {}

    async def collect(self) -> None:
        """Begin to upload the segments that are finished. Wait while more than `BACKLOG` bytes are under way."""
        for path, size in await asyncio.to_thread(self._list_finished):
            self._collected.add(path.name)
            self._under_way[asyncio.create_task(self._upload(path, size))] = size
        await self._drain(BACKLOG)

    async def finish(self) -> None:
        """Upload all segments that are left."""
        await self.collect()
        await self._drain(0)

    async def abandon(self) -> None:
        """Stop all uploads and wait until they have stopped."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _list_finished(self) -> list[tuple[Path, int]]:
        paths = [path for path in sorted(self._folder.glob("*.ts")) if path.name not in self._collected]
        return [(path, path.stat().st_size) for path in paths]

    async def _drain(self, backlog: int) -> None:
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

    async def _upload(self, path: Path, size: int) -> None:
        async with self._slots:
            try:
                content = await asyncio.to_thread(lambda: transport_stream.inspect(path.read_bytes()))
            except ValueError as error:
                # ffmpeg does not report a segment that it could not write whole.
                raise RetryableError(Code.TRANSCODER_ERROR, f"ffmpeg left no whole {path.name}: {error}") from error
            await self._transfer.upload(self._bucket, self._prefix + path.name, path, SEGMENT_TYPE)
            await asyncio.to_thread(path.unlink)
        self.uploaded_segments[path.name] = UploadedSegment(path.name, size, content)
