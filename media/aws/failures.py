"""What each error of a call to AWS means, and whether a refusal meets everything or one object alone.

Each adapter adds the codes of its own service. docs/failures.md shows the tables.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from botocore.parsers import ResponseParserError

from media.errors import Dependency, FailureKind

log = structlog.get_logger(__name__)

ACCESS_DEADLINE = 10.0
"""Seconds for the call, which is an outage when it takes longer."""


@dataclass(frozen=True, slots=True)
class AwsFailure:
    """The meaning of an error."""

    kind: FailureKind
    meaning: str


_AWAY = FailureKind.UNAVAILABLE
_CREDENTIALS = AwsFailure(_AWAY, "our credentials are wrong, expired or not known yet")
_CLOCK = AwsFailure(_AWAY, "our clock and AWS's differ")
_THROTTLED = AwsFailure(_AWAY, "too many requests")
_ACCOUNT = AwsFailure(_AWAY, "the account or the service is suspended")
_SERVER = AwsFailure(_AWAY, "the service, or a proxy before it, is in trouble")
_FORBIDDEN = AwsFailure(FailureKind.REFUSED, "a policy forbids the call")
_KEY = AwsFailure(FailureKind.REFUSED, "the encryption key may not be used, is disabled or is gone")


def _each(names: str, failure: AwsFailure) -> dict[str, AwsFailure]:
    return dict.fromkeys(names.split(), failure)


COMMON: dict[str, AwsFailure] = {
    **_each(
        "ExpiredToken ExpiredTokenException InvalidAccessKeyId InvalidClientTokenId InvalidSignatureException"
        " InvalidToken MissingAuthenticationToken MissingAuthenticationTokenException MissingSecurityHeader"
        " SignatureDoesNotMatch TokenRefreshRequired UnrecognizedClientException",
        _CREDENTIALS,
    ),
    **_each("RequestExpired RequestTimeTooSkewed", _CLOCK),
    **_each(
        "BandwidthLimitExceeded LimitExceededException OverLimit RequestLimitExceeded RequestThrottled"
        " RequestThrottledException SlowDown ThrottledException Throttling ThrottlingException"
        " TooManyRequestsException",
        _THROTTLED,
    ),
    **_each("AccountProblem AllAccessDisabled InvalidSecurity NotSignedUp OptInRequired", _ACCOUNT),
    **_each(
        "InternalError InternalFailure InternalServerErrorException RequestTimeout ServiceUnavailable"
        " ServiceUnavailableException",
        _SERVER,
    ),
    **_each("AccessDenied AccessDeniedException AuthFailure", _FORBIDDEN),
    **_each("KMS.* KmsAccessDenied KmsDisabled KmsInvalidKeyUsage KmsInvalidState KmsNotFound", _KEY),
    **_each("KmsOptInRequired KmsThrottled", AwsFailure(_AWAY, "the key service has too many requests, or no account")),
}
"""By code. `KMS.*` stands for every code that begins with `KMS.`."""
OTHER_CODE = AwsFailure(FailureKind.REFUSED, "the request is refused")
UNFORESEEN = AwsFailure(FailureKind.REFUSED, "an answer that no service gives, credentials that stay stale, or our bug")
_WAITING_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})

_OTHERS: tuple[tuple[type[Exception], AwsFailure], ...] = (
    (ParamValidationError, AwsFailure(FailureKind.BUG, "a value that the call does not take")),
    (BotoCoreError, AwsFailure(_AWAY, "no answer, a broken one, or no credentials to sign with")),
    (ResponseParserError, AwsFailure(_AWAY, "what answers does not speak AWS's protocol")),
    (HttpError, AwsFailure(_AWAY, "the connection is lost or its answer is broken")),
    (TimeoutError, AwsFailure(_AWAY, "no answer in time")),
    (OSError, AwsFailure(_AWAY, "no connection: refused, cut, or not to be resolved")),
)
"""By type, the first that matches, for what is no refusal of the service."""


def classify(error: Exception, own: Mapping[str, AwsFailure]) -> AwsFailure:
    """Return what an error means. `own` are the codes of the service. Every exception has a meaning."""
    if not isinstance(error, ClientError):
        return next((failure for kind, failure in _OTHERS if isinstance(error, kind)), UNFORESEEN)
    response: Any = error.response
    code, metadata = code_of(error), response.get("ResponseMetadata") if isinstance(response, dict) else None
    status = metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None
    for name in (code, f"{code.partition('.')[0]}.*"):
        if failure := own.get(name) or COMMON.get(name):
            return failure
    is_late = isinstance(status, int) and (status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _WAITING_STATUSES)
    return _SERVER if is_late else OTHER_CODE


def code_of(error: ClientError) -> str:
    """Return the code of a refusal, without the namespace of SQS. Anything may stand in its place."""
    response: Any = error.response
    found = response.get("Error") if isinstance(response, dict) else None
    code = str(found.get("Code", "")) if isinstance(found, dict) else ""
    return code.rpartition("#")[2].removeprefix("AWS.SimpleQueueService.")


def describe(codes: Mapping[str, AwsFailure]) -> Iterator[tuple[str, AwsFailure]]:
    """Yield a table of codes for people: those that mean the same are one row."""
    for failure in dict.fromkeys(codes.values()):
        yield ", ".join(f"`{code}`" for code, found in codes.items() if found == failure), failure


def describe_common() -> Iterator[tuple[str, AwsFailure]]:
    """Yield the rows that all services share, the last resorts included."""
    yield from describe(COMMON)
    yield "any other code with status 408, 429 or 5xx", _SERVER
    yield "any other code", OTHER_CODE
    for kind, failure in _OTHERS:
        yield f"`{kind.__module__.partition('.')[0]}.{kind.__name__}`".replace("builtins.", ""), failure
    yield "any other exception", UNFORESEEN


class AccessCheck:
    """Makes a call that must succeed, after a refusal of another. Refusals at the same time share one call."""

    def __init__(self, dependency: Dependency, call: Callable[[], Awaitable[object]]) -> None:
        self._dependency = dependency
        self._call = call
        self._asking: asyncio.Future[bool] | None = None

    async def passes(self) -> bool:
        """Return whether the call succeeds, so that the refusal is about something else."""

        async def ask() -> bool:
            try:
                async with asyncio.timeout(ACCESS_DEADLINE):
                    await self._call()
            except Exception as error:  # noqa: BLE001 - any failure means that more than one object is refused
                log.warning("access.refused", dependency=self._dependency, error=str(error) or repr(error))
                return False
            return True

        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(ask())
        return await asyncio.shield(self._asking)  # others wait for it too
