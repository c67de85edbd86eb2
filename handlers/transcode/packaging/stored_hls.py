"""Reads HLS from the bucket for the checks: sizes from one listing, bytes only where a check needs them."""

import posixpath
from urllib.parse import unquote, urlsplit

from handlers.transcode.hls_check.source import SourceError
from media.asset import ObjectVersion
from media.aws.s3 import MissingObjectError, ObjectStorage, StoredFile
from media.aws.s3_transfer import ObjectTransfer

PLAYLIST_LIMIT = 8 * 1024 * 1024
"""Bytes of a playlist. The I-frame playlist of 8 h names 14,400 pictures, in about 1.5 MB."""


class StoredHls:
    """The source of a check. Addresses are keys, and only files listed below the attempt's prefix exist."""

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

    async def read_range(self, address: str, *, offset: int, length: int) -> tuple[bytes, int]:
        """Return up to `length` bytes from `offset`, and the file's size."""
        size = self._size(address)
        last = min(offset + length, size) - 1
        # A caller that asks for a single byte wants the size, which needs no request.
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
