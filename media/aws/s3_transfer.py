"""Read large S3 objects in ranges, and write them in parts. For small ones see `media.aws.s3`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from media.asset import ObjectVersion
from media.aws.failures import AccessCheck
from media.aws.s3 import ServedAs, pieces_of
from media.aws.s3_errors import SLOW, require_etag, s3_calls

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

PART = 16 * 1024 * 1024
"""Bytes of a part. S3 takes 10,000 parts, so this allows for 156 GiB, five times our longest MP4."""
PARALLEL = 3
"""Parts that are uploaded at once, all of them in memory."""


class ObjectTransfer:
    """Reads and uploads large objects.

    Every method raises what those of ObjectStorage raise.
    """

    def __init__(self, client: "S3Client", access: AccessCheck | None = None) -> None:
        self._client = client
        self._calls = partial(s3_calls, access=access)

    @asynccontextmanager
    async def read_range(
        self, version: ObjectVersion, first: int, last: int, *, etag: str | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield bytes `first` to `last`, both included, of one version. With `etag`, only while it has that ETag.

        Raises MissingObjectError, ChangedObjectError.
        """
        request: dict[str, Any] = {"Bucket": version.bucket, "Key": version.key, "Range": f"bytes={first}-{last}"}
        request |= {"VersionId": version.version_id} if version.version_id else {}
        request |= {"IfMatch": f'"{etag}"'} if etag else {}
        async with self._calls():
            answer = await self._client.get_object(**request)
            require_etag(answer)
        async with answer["Body"] as body, aclosing(pieces_of(body)) as pieces:
            yield pieces

    async def upload(self, bucket: str, key: str, path: Path, served: str | ServedAs) -> None:
        """Store a file of any size, with a content type or with all headers that it is served with.

        A file larger than PART becomes visible when all of it is there.
        """
        new: Any = {"Bucket": bucket, "Key": key}
        if isinstance(served, ServedAs):
            new |= {"ContentDisposition": served.disposition, "CacheControl": served.cache}
            served = served.content_type
        new |= {"ContentType": served}
        size = (await asyncio.to_thread(path.stat)).st_size
        if size > PART:
            await self._upload_parts(new, path, -(-size // PART))
            return
        body = await asyncio.to_thread(path.read_bytes)
        async with self._calls(sent=size):
            require_etag(await self._client.put_object(**new, Body=body))

    async def _upload_parts(self, new: Any, path: Path, count: int) -> None:
        async with self._calls():
            begun = await self._client.create_multipart_upload(**new)
            upload: Any = {"Bucket": new["Bucket"], "Key": new["Key"], "UploadId": begun["UploadId"]}
        try:
            parts = await self._put_parts(upload, path, count)
            async with self._calls(SLOW):
                require_etag(await self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}))
        except BaseException:
            # Parts that are left cost money until the bucket's lifecycle removes them.
            async with self._calls():
                await self._client.abort_multipart_upload(**upload)
            raise

    async def _put_parts(self, upload: Any, path: Path, count: int) -> list[Any]:
        slots = asyncio.Semaphore(PARALLEL)

        def read_part(index: int) -> bytes:
            with path.open("rb") as file:
                file.seek(index * PART)
                return file.read(PART)

        async def put(number: int) -> Any:
            async with slots:
                body = await asyncio.to_thread(read_part, number - 1)
                async with self._calls(sent=PARALLEL * len(body)):
                    stored = await self._client.upload_part(**upload, PartNumber=number, Body=body)
                    return {"PartNumber": number, "ETag": stored["ETag"]}

        tasks = [asyncio.create_task(put(number)) for number in range(1, count + 1)]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
