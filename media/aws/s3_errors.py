"""What S3's answers mean: the object is missing, or another one; S3 is away (or silent for too long); S3 refuses."""

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
"""Seconds for a call that S3 answers at once, its retries included, and for each piece of a stream: short enough to be
back at work within ten seconds of the end of an outage in which everything sent was swallowed."""
SLOW = 100.0
"""Seconds for a call that has S3 itself do something large: copy, put together, look through or empty a prefix."""
SLOWEST = 1024 * 1024
"""Bytes a second below which a transfer counts as hung."""


class MissingObjectError(Exception):
    """The object version is not there."""


class ChangedObjectError(Exception):
    """The object is another one than its ETag says."""


@asynccontextmanager
async def s3_calls(seconds: float = QUICK, *, sent: int = 0) -> AsyncIterator[None]:
    """Tell apart: the object is missing, S3 is away, S3 refuses. `sent` bytes may take their time on the way."""
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
