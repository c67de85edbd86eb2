"""The job's input and outputs in S3."""

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from types_aiobotocore_s3 import S3Client

from deploy.local.mediaconvert import errors
from deploy.local.mediaconvert.plan import split_address

CHUNK = 1024 * 1024
"""Bytes of one read."""
LARGE = 1024**3
"""Bytes from which the free space of an input is not read."""
SHORT_HEADER, BOX_HEADER = 8, 16
"""Bytes of an MP4's box header: with a length of 32 bits, and with one of 64."""
FREE_SPACE = frozenset({b"free", b"skip"})
PARALLEL = 8
"""Uploads at a time."""

CONTENT_TYPES = {
    "m3u8": "application/vnd.apple.mpegurl",
    "ts": "video/mp2t",
    "mp4": "video/mp4",
    "m4a": "audio/mp4",
    "jpg": "image/jpeg",
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to be written. `content` is a file's path or the text itself."""

    bucket: str
    key: str
    content: Path | str
    content_type: str

    @property
    def address(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


async def fetch(s3: S3Client, address: str, target: Path) -> None:
    """Copy the current version of `s3://…` to `target`. Raises JobFailedError when S3 refuses.

    Free space of a large MP4 becomes a hole in `target`: it holds nothing, and no decoder reads it.
    """
    bucket, key = split_address(address)
    try:
        size = (await s3.head_object(Bucket=bucket, Key=key))["ContentLength"]
        spans = [(0, size)] if size < LARGE else await _used_spans(s3, bucket, key, size)
        with target.open("wb") as file:
            for first, end in spans:
                file.seek(first)
                wanted = {} if (first, end) == (0, size) else {"Range": f"bytes={first}-{end - 1}"}
                response = await s3.get_object(Bucket=bucket, Key=key, **wanted)  # type: ignore[arg-type] # a str
                async with response["Body"] as body:
                    async for chunk in body.iter_chunks(CHUNK):
                        file.write(chunk)
            file.truncate(size)
    except ClientError as error:
        raise _unreadable(address, error) from error
    except (BotoCoreError, OSError) as error:
        raise errors.JobFailedError(errors.UNKNOWN, f"Failed to read [{address}]: {error}") from error


async def _used_spans(s3: S3Client, bucket: str, key: str, size: int) -> list[tuple[int, int]]:
    """Return the bytes outside the free space of an MP4, as begin and end; everything of another file."""
    spans, at = [], 0
    while at < size:
        response = await s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={at}-{at + BOX_HEADER - 1}")
        async with response["Body"] as body:
            header = await body.read()
        length, kind = int.from_bytes(header[:4]), header[4:8]
        length = {0: size - at, 1: int.from_bytes(header[8:16])}.get(length, length)
        if not kind.isalnum() or not SHORT_HEADER <= length <= size - at:
            return [(0, size)]
        spans.append((at, at + BOX_HEADER if kind in FREE_SPACE else at + length))
        at += length
    return spans


async def put_all(s3: S3Client, stages: Sequence[Sequence[Upload]]) -> None:
    """Write all of one stage before the next, so that no playlist exists before the files it names.

    Raises JobFailedError when S3 refuses one.
    """
    slots = asyncio.Semaphore(PARALLEL)
    for stage in stages:
        results = await asyncio.gather(*(_put(s3, upload, slots) for upload in stage), return_exceptions=True)
        for failure in results:
            if failure is not None:
                raise failure


async def _put(s3: S3Client, upload: Upload, slots: asyncio.Semaphore) -> None:
    async with slots:
        try:
            content = upload.content
            with io.BytesIO(content.encode()) if isinstance(content, str) else content.open("rb") as body:
                await s3.put_object(Bucket=upload.bucket, Key=upload.key, Body=body, ContentType=upload.content_type)
        except (ClientError, BotoCoreError, OSError) as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 0
            code = {403: errors.ACCESS_DENIED, 404: errors.MISSING}.get(status, errors.WRITE_FAILED)
            message = f"Unable to write to output file [{upload.address}]: [Failed to write data: {error}]"
            raise errors.JobFailedError(code, message) from error


def _unreadable(address: str, error: ClientError) -> errors.JobFailedError:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if status == HTTPStatus.NOT_FOUND:
        reason = "Can't read input stream: [Failed to read data: HeadObject failed]"
        return errors.unopenable(errors.MISSING, address, reason)
    if status == HTTPStatus.FORBIDDEN:
        reason = f"Can't read input stream: [Failed to read data: Access denied to [{address}]]"
        return errors.unopenable(errors.ACCESS_DENIED, address, reason)
    return errors.JobFailedError(errors.UNKNOWN, f"Failed to read [{address}]: {error}")
