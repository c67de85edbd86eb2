"""Uploads in parts as S3 has them: begun, listed, completed, aborted. The parts themselves the client sends."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from media.aws.s3_errors import QUICK, SLOW, s3_calls

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

MIB = 1024 * 1024
SMALLEST_PART = 8 * MIB
"""Bytes. S3 takes 5 MiB and more; smaller parts lose less when a connection breaks, larger ones cost fewer requests."""
MOST_PARTS = 10_000
"""By S3's own limit."""


class EndedUploadError(Exception):
    """S3 does not know the upload any more: it was completed, aborted, or swept by the bucket's lifecycle."""


class MissingPartsError(Exception):
    """S3 does not have the parts that were named, or has them with other ETags."""


class ExistingObjectError(Exception):
    """There is an object at the key already."""


@dataclass(frozen=True, slots=True)
class MultipartTarget:
    """One upload in parts. `upload_id` is S3's name for it."""

    bucket: str
    key: str
    upload_id: str


@dataclass(frozen=True, slots=True)
class UploadPart:
    """One part. `size` is bytes, 0 where it does not matter."""

    number: int
    etag: str
    size: int = 0


def part_size(size: int) -> int:
    """The bytes of each part of a file of `size` bytes: whole MiB, and so many that MOST_PARTS are enough."""
    enough = -(-size // MOST_PARTS)
    return max(SMALLEST_PART, -(-enough // MIB) * MIB)


def size_of_part(number: int, size: int, part: int) -> int:
    """The bytes of part `number` (from 1) of `size` bytes in parts of `part`; 0 when there is no such part."""
    return max(0, min(part, size - (number - 1) * part))


@asynccontextmanager
async def _upload_calls(seconds: float = QUICK) -> AsyncIterator[None]:
    """Tell apart, beside what any call to S3 may mean: no such upload, no such parts, an object in the way."""
    async with s3_calls(seconds):
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in {"NoSuchUpload", "404"}:
                raise EndedUploadError(str(error)) from error
            if code in {"InvalidPart", "InvalidPartOrder", "EntityTooSmall"}:
                raise MissingPartsError(str(error)) from error
            if code in {"PreconditionFailed", "412"}:
                raise ExistingObjectError(str(error)) from error
            raise


class MultipartUploads:
    """What this service asks of S3 about uploads in parts.

    Every method raises UnavailableError when S3 is away, RetryableError(storage_error) when it refuses.
    """

    def __init__(self, client: "S3Client") -> None:
        self._client = client

    async def begin(self, bucket: str, key: str, content_type: str) -> MultipartTarget:
        """A new upload. One that is never completed the bucket's lifecycle aborts after a day."""
        async with s3_calls():
            begun = await self._client.create_multipart_upload(Bucket=bucket, Key=key, ContentType=content_type)
        return MultipartTarget(bucket, key, begun["UploadId"])

    async def parts(self, upload: MultipartTarget) -> list[UploadPart]:
        """The parts that are there, in order. Raises EndedUploadError."""
        found: list[UploadPart] = []
        async with _upload_calls(SLOW):
            async for page in self._client.get_paginator("list_parts").paginate(**_address(upload)):
                found += [UploadPart(p["PartNumber"], p["ETag"].strip('"'), p["Size"]) for p in page.get("Parts", ())]
        return found

    async def complete(self, upload: MultipartTarget, parts: Sequence[UploadPart]) -> None:
        """Put the object together, unless there is one at its key.

        Raises EndedUploadError, MissingPartsError, ExistingObjectError.
        """
        named: list[Any] = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        async with _upload_calls(SLOW):
            await self._client.complete_multipart_upload(
                **_address(upload), MultipartUpload={"Parts": named}, IfNoneMatch="*"
            )

    async def abort(self, upload: MultipartTarget) -> None:
        """Forget the upload and its parts. One that has ended is no error."""
        try:
            async with _upload_calls():
                await self._client.abort_multipart_upload(**_address(upload))
        except EndedUploadError:
            return


def _address(upload: MultipartTarget) -> Any:
    return {"Bucket": upload.bucket, "Key": upload.key, "UploadId": upload.upload_id}
