"""What S3's answers mean: the object is missing, or another one; S3 is away; S3 refuses."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError

from media.errors import Code, Dependency, RetryableError, UnavailableError

MISSING = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NoSuchBucket", "MethodNotAllowed", "405"})
_CHANGED = frozenset({"PreconditionFailed", "412"})
_AWAY = frozenset({"ServiceUnavailable", "SlowDown", "InternalError", "RequestTimeout", "503", "500", "502", "504"})


class MissingObjectError(Exception):
    """The object version is not there."""


class ChangedObjectError(Exception):
    """The object is another one than its ETag says."""


@contextmanager
def s3_calls() -> Iterator[None]:
    """Tell apart: the object is missing, S3 is away, S3 refuses."""
    try:
        yield
    except ClientError as error:
        raise _meaning(error) from error
    except (BotoCoreError, HttpError, OSError, TimeoutError) as error:
        raise UnavailableError(Dependency.S3, f"{type(error).__name__}: {error}") from error


def _meaning(error: ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in MISSING:
        return MissingObjectError(str(error))
    if code in _CHANGED:
        return ChangedObjectError(str(error))
    if code in _AWAY:
        return UnavailableError(Dependency.S3, str(error))
    return RetryableError(Code.STORAGE_ERROR, str(error))
