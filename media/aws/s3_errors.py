"""Turn S3's errors into ours: the object is missing or has changed, S3 is down or too slow, S3 refuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog

from media.aws.failures import UNFORESEEN, AccessCheck, AwsFailure, classify
from media.errors import Code, Dependency, FailureKind, MediaError, RetryableError, UnavailableError

log = structlog.get_logger(__name__)

_MISSING = AwsFailure(FailureKind.INPUT, "the object, the version or the bucket is not there")
_CHANGED = AwsFailure(FailureKind.INPUT, "the object is not, or no longer, as it was expected")
_BUSY = AwsFailure(FailureKind.UNAVAILABLE, "another call works on the same object")

CODES: dict[str, AwsFailure] = {
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion", "NoSuchBucket", "404", "MethodNotAllowed", "405"), _MISSING),
    **dict.fromkeys(("PreconditionFailed", "412"), _CHANGED),
    **dict.fromkeys(("ConditionalRequestConflict", "OperationAborted"), _BUSY),
}
"""S3's own codes. The answer to a HEAD has no body, so that its code is the status."""

QUICK = 8.0
"""Seconds for a call that S3 answers at once, its retries included, and for each piece of a stream.

Short enough to be back at work within ten seconds of the end of an outage in which packets were dropped silently.
"""
SLOW = 100.0
"""Seconds for a call in which S3 does much work: copy, complete an upload, list or empty a prefix."""
SLOWEST = 1024 * 1024
"""Slowest transfer, in bytes a second. A slower one counts as hung."""


class ObjectError(Exception):
    """S3 answered in order, but the object is not as the caller expected."""


class MissingObjectError(ObjectError):
    """The object version is not there."""


class ChangedObjectError(ObjectError):
    """The object has another ETag than expected."""


@asynccontextmanager
async def s3_calls(seconds: float = QUICK, *, sent: int = 0, access: AccessCheck | None = None) -> AsyncIterator[None]:
    """Turn failures into MissingObjectError, ChangedObjectError, UnavailableError or RetryableError(storage_error).

    `sent` is the bytes that the call uploads: they extend its deadline, at SLOWEST bytes a second. A refusal is an
    outage, unless `access` says that it is about this object alone.
    """
    try:
        async with asyncio.timeout(seconds + sent / SLOWEST):
            yield
    except (ObjectError, MediaError, UnavailableError):
        raise
    except Exception as error:
        failure = classify(error, CODES)
        if failure is _MISSING:
            raise MissingObjectError(str(error)) from error
        if failure is _CHANGED:
            raise ChangedObjectError(str(error)) from error
        if failure.kind is FailureKind.BUG:
            raise
        if failure.kind is FailureKind.REFUSED and access and await access.passes():
            if failure is UNFORESEEN:
                raise
            raise RetryableError(Code.STORAGE_ERROR, str(error)) from error
        if failure is UNFORESEEN:
            log.exception("s3.unforeseen")
        detail = f"{type(error).__name__}: {error}"
        raise UnavailableError(Dependency.S3, detail, is_unforeseen=failure is UNFORESEEN) from error


def require_listing(page: Any) -> None:
    """Raise KeyError unless S3 says whether more follows. A proxy's page with status 200 is no empty listing."""
    page["IsTruncated"]


def require_etag(stored: Any) -> None:
    """Raise KeyError unless S3 names what it stored or reads. A proxy's page with status 200 is no such answer."""
    if not stored["ETag"].strip('" \n'):
        raise KeyError("ETag")
