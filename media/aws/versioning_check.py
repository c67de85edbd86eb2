"""Make sure that the bucket keeps versions: a stage must read the bytes that were scanned, whatever comes later."""

import asyncio

import structlog

from media.aws.s3 import MissingObjectError, ObjectStorage
from media.errors import RetryableError, UnavailableError

log = structlog.get_logger(__name__)

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
