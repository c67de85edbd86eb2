"""The description of an endpoint: method and path, handler, request and response models, problems."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from api.problems import ProblemCode
from api.security.rate_limits import RateLimit

MEDIA = "/api/v1/media"
INTERNAL = "/api/v1/internal/media"
JSON = "application/json"
MERGE_PATCH = ("application/merge-patch+json", JSON)
AUTH = (
    ProblemCode.UNAUTHENTICATED,
    ProblemCode.TOKEN_EXPIRED,
    ProblemCode.OWNER_ID_NOT_ALLOWED,
    ProblemCode.RATE_LIMITED,
)
"""Problems of every endpoint that authenticates its caller."""
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
"""Problems of every endpoint."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint. `problems` are those of this endpoint; those of every endpoint are in `ALWAYS`."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    status: int = 200
    body: type[BaseModel] | None = None
    body_types: Sequence[str] = (JSON,)
    query: type[BaseModel] | None = None
    response: type[BaseModel] | None = None
    media_type: str = "application/json"
    bearer: bool = True
    rate: RateLimit = RateLimit.READ
    cached: bool = False
    endless: bool = False
    headers: Sequence[str] = ()
    problems: Sequence[ProblemCode] = ()
