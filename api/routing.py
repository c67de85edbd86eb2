"""What an endpoint is: its method and path, who answers, what goes in, what comes out, which problems it knows."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from api.problems import ProblemCode
from api.security.rate_limits import RateLimit

MEDIA = "/api/v1/media"
INTERNAL = "/api/v1/internal/media"
AUTH = (
    ProblemCode.UNAUTHENTICATED,
    ProblemCode.TOKEN_EXPIRED,
    ProblemCode.OWNER_ID_NOT_ALLOWED,
    ProblemCode.RATE_LIMITED,
)
"""What any endpoint answers that asks who calls."""
BODY = (
    ProblemCode.UNSUPPORTED_MEDIA_TYPE,
    ProblemCode.BODY_TOO_LARGE,
    ProblemCode.REQUEST_TIMEOUT,
    ProblemCode.INVALID_REQUEST,
)
NO_URL = (ProblemCode.DELETED, ProblemCode.NOT_READY, ProblemCode.REJECTED, ProblemCode.FAILED)
CALLBACK = (
    *BODY,
    ProblemCode.SIGNATURE_INVALID,
    ProblemCode.SIGNATURE_REPLAYED,
    ProblemCode.NOT_FOUND,
    ProblemCode.DELETED,
    ProblemCode.JOB_MISMATCH,
)
ALWAYS = (ProblemCode.NOT_HTTP, ProblemCode.UNAVAILABLE, ProblemCode.TIMEOUT, ProblemCode.INTERNAL_ERROR)
"""What any endpoint may answer."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint. `problems` are those it raises itself; what any may answer is `ALWAYS`."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    status: int = 200
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    media_type: str = "application/json"
    bearer: bool = True
    rate: RateLimit = RateLimit.READ
    cached: bool = False
    endless: bool = False
    headers: Sequence[str] = ()
    problems: Sequence[ProblemCode] = ()
