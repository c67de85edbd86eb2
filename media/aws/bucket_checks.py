"""Make sure that the bucket keeps versions, and that its objects can be written and read.

A stage must read the bytes that were scanned, whatever comes later.
"""

import asyncio
from typing import TYPE_CHECKING

import structlog

from media.aws.s3 import MissingObjectError, ObjectStorage
from media.aws.s3_errors import ChangedObjectError, require_etag, s3_calls
from media.errors import Dependency, RetryableError, UnavailableError

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

log = structlog.get_logger(__name__)

SELF_TEST = "private/self-test"
"""Below a prefix that a consumer may read and write, and that nobody is served without a signature."""
_CONTENT = b"media: written to see that the bucket can be written, and read to see that it can be read\n"
"""What it says for ever: the object outlives the release that wrote it."""
PAUSE = 5.0
"""Seconds until a bucket that did not answer is asked again."""


class BucketError(Exception):
    """The bucket cannot be used as it is. The message says what to do."""


class VersioningCheck:
    """Checks one bucket. An outage is no verdict: the bucket is asked again until it answers."""

    def __init__(self, storage: ObjectStorage, bucket: str) -> None:
        self._storage = storage
        self._bucket = bucket
        self.passed = False

    async def ask(self) -> bool:
        """Ask once. Return whether the bucket answered. Raises BucketError if it may not be used."""
        name, wrong = self._bucket, ""
        try:
            if not await self._storage.is_versioned(name):
                wrong = (
                    f"the bucket {name} (OUTPUT_BUCKET) is not versioned, so a file could be exchanged after its scan:"
                    f" aws s3api put-bucket-versioning --bucket {name} --versioning-configuration Status=Enabled"
                )
        except UnavailableError as error:
            log.warning("bucket.unchecked", bucket=name, error=error.detail)
            return False
        except MissingObjectError:
            wrong = f"the bucket {name} (OUTPUT_BUCKET) does not exist"
        except RetryableError as error:
            wrong = (
                f"S3 refuses to say whether the bucket {name} (OUTPUT_BUCKET) is versioned; the role needs"
                f" s3:GetBucketVersioning on it: {error.detail}"
            )
        except Exception:
            log.exception("bucket.unforeseen", bucket=name)
            return False
        if wrong:
            log.error("bucket.unusable", bucket=name, reason=wrong)
            raise BucketError(wrong)
        self.passed = True
        return True

    async def run(self) -> None:
        """Ask until the bucket answered, then wait until canceled. Raises BucketError if it may not be used."""
        while True:
            if not self.passed:
                await self.ask()
            await asyncio.sleep(PAUSE)


class BucketSelfTest:
    """Reads and writes the object with the rights of the work, its encryption key included."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def read(self) -> None:
        """Read the object, and write it first where it is missing. Raises UnavailableError."""
        try:
            await self._get()
        except MissingObjectError:
            await self.check()

    async def check(self) -> None:
        """Write and read the object. Raises UnavailableError."""
        try:
            async with s3_calls():
                # S3 asks the policies first, so that a refusal shows without one more version each time.
                require_etag(
                    await self._client.put_object(Bucket=self._bucket, Key=SELF_TEST, Body=_CONTENT, IfNoneMatch="*")
                )
        except ChangedObjectError:
            pass  # it is there
        await self._get()

    async def _get(self) -> None:
        async with s3_calls():
            answer = await self._client.get_object(Bucket=self._bucket, Key=SELF_TEST)
            async with answer["Body"] as body:
                content = await body.read()
        if content != _CONTENT:  # such as a proxy's page, with status 200 for whatever is asked
            raise UnavailableError(Dependency.S3, f"{SELF_TEST} has another content: {content!r:.100}")
