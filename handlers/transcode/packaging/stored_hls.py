"""HLS as it lies in the bucket, for the checks: sizes from one listing, bytes only where they are looked at."""

import posixpath
from urllib.parse import unquote, urlsplit

from handlers.transcode.hls_check.source import SourceError
from media.asset import ObjectVersion
from media.aws.s3 import MissingObjectError, ObjectStorage, StoredFile
from media.aws.s3_transfer import ObjectTransfer

PLAYLIST_LIMIT = 8 * 1024 * 1024
"""Bytes. The I-frame playlist of 8 h names 14,400 pictures, in some 1.5 MB."""


class StoredHls:
    """A check's source: addresses are keys, and only what was listed below the attempt's prefix exists."""

    def __init__(self, storage: ObjectStorage, transfer: ObjectTransfer, bucket: str, files: list[StoredFile]) -> None:
        self._storage = storage
        self._transfer = transfer
        self._bucket = bucket
        self._sizes = {file.key: file.size for file in files}

    def resolve(self, base: str, reference: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(urlsplit(reference).path)))

    async def read(self, address: str) -> bytes:
        self._size(address)
        try:
            return await self._storage.read(ObjectVersion(self._bucket, address), limit=PLAYLIST_LIMIT)
        except MissingObjectError as error:
            raise SourceError("it is not there any more") from error

    async def look(self, address: str, *, offset: int, length: int) -> tuple[bytes, int]:
        """A single byte is not worth a request: whoever asks for it wants the size."""
        size = self._size(address)
        last = min(offset + length, size) - 1
        if length <= 1 or last < offset:
            return b"", size
        data = bytearray()
        try:
            async with self._transfer.read_range(ObjectVersion(self._bucket, address), offset, last) as pieces:
                async for piece in pieces:
                    data += piece
        except MissingObjectError as error:
            raise SourceError("it is not there any more") from error
        return bytes(data), size

    def _size(self, address: str) -> int:
        try:
            return self._sizes[address]
        except KeyError:
            raise SourceError("it is not there") from None
