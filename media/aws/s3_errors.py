"""Turn S3's errors into ours: the object is missing or has changed, S3 is down or too slow, S3 refuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError

from media.errors import Code, Dependency, RetryableError, UnavailableError

MISSING = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NoSuchBucket", "MethodNotAllowed", "405"})
_CHANGED = frozenset({"PreconditionFailed", "412"})
_AWAY = frozenset({"ServiceUnavailable", "SlowDown", "InternalError", "RequestTimeout", "503", "500", "502", "504"})


QUICK = 8.0
"""Seconds for a call that S3 answers at once, its retries included, and for each piece of a stream.

Short enough to be back at work within ten seconds of the end of an outage in which packets were dropped silently.
"""
SLOW = 100.0
"""Seconds for a call in which S3 does much work: copy, complete an upload, list or empty a prefix."""
SLOWEST = 1024 * 1024
"""Slowest transfer, in bytes a second. A slower one counts as hung."""


class MissingObjectError(Exception):
    """The object version is not there."""


class ChangedObjectError(Exception):
    """The object has another ETag than expected."""


@asynccontextmanager
async def s3_calls(seconds: float = QUICK, *, sent: int = 0) -> AsyncIterator[None]:
    """Turn failures into MissingObjectError, ChangedObjectError, UnavailableError or RetryableError(storage_error).

    `sent` is the bytes that the call uploads: they extend its deadline, at SLOWEST bytes a second.
    """
    try:
        async with asyncio.timeout(seconds + sent / SLOWEST):
            yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in MISSING:
            raise MissingObjectError(str(error)) from error
        if code in _CHANGED:
            raise ChangedObjectError(str(error)) from error
        if code in _AWAY:
            raise UnavailableError(Dependency.S3, str(error)) from error
        raise RetryableError(Code.STORAGE_ERROR, str(error)) from error
    except (BotoCoreError, HttpError, OSError, TimeoutError) as error:
        raise UnavailableError(Dependency.S3, f"{type(error).__name__}: {error}") from error
