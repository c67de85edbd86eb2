"""Begin, list, complete and abort multipart uploads. The client sends the parts to S3 itself."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from media.aws.failures import code_of
from media.aws.s3_errors import QUICK, SLOW, ObjectError, require_etag, s3_calls
from media.errors import Dependency, UnavailableError

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

MIB = 1024 * 1024
SMALLEST_PART = 8 * MIB
"""Least bytes of a part; S3's limit is 5 MiB.

Smaller parts lose less when a connection breaks, larger ones cost fewer requests.
"""
MAX_PARTS = 10_000
"""Most parts of one upload, S3's limit."""


class EndedUploadError(ObjectError):
    """S3 does not know the upload any more: it was completed, or aborted by a client or the bucket's lifecycle."""


class MissingPartsError(ObjectError):
    """S3 does not have the parts that were named, or has them with other ETags."""


class ExistingObjectError(ObjectError):
    """There is an object at the key already."""


@dataclass(frozen=True, slots=True)
class MultipartTarget:
    """One multipart upload. `upload_id` is S3's name for it."""

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
    """Return the bytes of each part of a file of `size` bytes: whole MiB, so that MAX_PARTS are enough."""
    enough = -(-size // MAX_PARTS)
    return max(SMALLEST_PART, -(-enough // MIB) * MIB)


def size_of_part(number: int, size: int, part: int) -> int:
    """Return the bytes of part `number` (from 1) of `size` bytes in parts of `part`; 0 when there is no such part."""
    return max(0, min(part, size - (number - 1) * part))


@asynccontextmanager
async def _upload_calls(seconds: float = QUICK) -> AsyncIterator[None]:
    """Add EndedUploadError, MissingPartsError and ExistingObjectError to the errors of `s3_calls`."""
    async with s3_calls(seconds):
        try:
            yield
        except ClientError as error:
            code = code_of(error)
            if code in {"NoSuchUpload", "404"}:
                raise EndedUploadError(str(error)) from error
            if code in {"InvalidPart", "InvalidPartOrder", "EntityTooSmall"}:
                raise MissingPartsError(str(error)) from error
            if code in {"PreconditionFailed", "412"}:
                raise ExistingObjectError(str(error)) from error
            raise


class MultipartUploads:
    """Begins, lists, completes and aborts multipart uploads.

    Every method raises UnavailableError when S3 is down or refuses.
    """

    def __init__(self, client: "S3Client") -> None:
        self._client = client

    async def begin(self, bucket: str, key: str, content_type: str) -> MultipartTarget:
        """Begin an upload. The bucket's lifecycle aborts it after a day when it is not completed."""
        async with s3_calls():
            begun = await self._client.create_multipart_upload(Bucket=bucket, Key=key, ContentType=content_type)
            return MultipartTarget(bucket, key, begun["UploadId"])

    async def parts(self, upload: MultipartTarget) -> list[UploadPart]:
        """Return the parts that S3 has, in order. Raises EndedUploadError."""
        found: list[UploadPart] = []
        async with _upload_calls(SLOW):
            async for page in self._client.get_paginator("list_parts").paginate(**_address(upload)):
                found += [UploadPart(p["PartNumber"], p["ETag"].strip('"'), p["Size"]) for p in page.get("Parts", ())]
        return found

    async def complete(self, upload: MultipartTarget, parts: Sequence[UploadPart]) -> None:
        """Assemble the object, unless there is one at its key.

        Raises EndedUploadError, MissingPartsError, ExistingObjectError.
        """
        named: list[Any] = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        async with _upload_calls(SLOW):
            completed = await self._client.complete_multipart_upload(
                **_address(upload), MultipartUpload={"Parts": named}, IfNoneMatch="*"
            )
            require_etag(completed)

    async def check(self, bucket: str, key: str) -> None:
        """Ask whether an object could be stored at the key, which takes the right that a presigned PUT has.

        Raises UnavailableError when it could not. S3 asks the policies before it looks for an upload, and there is
        none: so nothing is stored, no version is made, and nothing is announced.
        """
        try:
            await self.complete(
                MultipartTarget(bucket, key, "none"), [UploadPart(1, "d41d8cd98f00b204e9800998ecf8427e")]
            )
        except (EndedUploadError, MissingPartsError, ExistingObjectError):
            return
        except ObjectError as error:  # no bucket, or something before S3 that forbids a POST
            raise UnavailableError(Dependency.S3, str(error)) from error

    async def abort(self, upload: MultipartTarget) -> None:
        """Abort the upload and remove its parts. An upload that has ended is no error."""
        try:
            async with _upload_calls():
                await self._client.abort_multipart_upload(**_address(upload))
        except EndedUploadError:
            return


def _address(upload: MultipartTarget) -> Any:
    return {"Bucket": upload.bucket, "Key": upload.key, "UploadId": upload.upload_id}
