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
    """Copy the current version of `s3://…` to `target`. Raises JobFailedError when S3 refuses."""
    bucket, key = split_address(address)
    try:
        response = await s3.get_object(Bucket=bucket, Key=key)
        async with response["Body"] as body:
            with target.open("wb") as file:
                async for chunk in body.iter_chunks(CHUNK):
                    file.write(chunk)
    except ClientError as error:
        raise _unreadable(address, error) from error
    except (BotoCoreError, OSError) as error:
        raise errors.JobFailedError(errors.UNKNOWN, f"Failed to read [{address}]: {error}") from error


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
