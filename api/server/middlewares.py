"""Steps of every request: an id, a deadline, errors as problems, a log line, headers."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from secrets import token_hex
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from api.problems import KINDS, ProblemCode, ProblemError
from api.schemas.assets import FieldErrorOut, ProblemOut
from api.security.rate_limits import ALLOWANCE
from api.server.access_log import ACCESS_LOG, AnsweredRequest
from api.service import SERVICE, Service
from media.errors import RetryableError, UnavailableError

log = structlog.get_logger(__name__)

REQUEST_DEADLINE = 20.0
"""Seconds for one request, except streams. Every call that it makes has a shorter deadline of its own."""
REQUEST_ID = web.RequestKey("request_id", str)
ENDLESS = web.AppKey("endless", frozenset[Handler])
"""Handlers of streams. They have no deadline: their number is limited instead."""
_GIVEN_ID = re.compile(r"[A-Za-z0-9._=;:-]{8,128}")
_TRACE = re.compile(r"Root=[A-Za-z0-9;=-]{1,150}")
_QUIET_ROUTES = frozenset({"/health", "/livez", "/readyz", "/metrics"})
"""Routes that are polled. Their requests are logged only when they fail with 5xx."""
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH, DELETE",
    # `*` stands for all others. It never stands for Authorization, and browsers of before 2022 do not know it.
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID,"
    " X-Request-ID, Range, *",
    "Access-Control-Max-Age": "3600",
}
_EXPOSED = (
    "ETag, Location, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, X-Request-ID"
)
SERVER: Final = "media"
"""Instead of the names and versions that aiohttp would tell."""
_ALWAYS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, turn errors into problem+json, count it, and write one log line without secrets."""
    given = request.headers.get("X-Request-ID", "")
    request[REQUEST_ID] = given if _GIVEN_ID.fullmatch(given) else token_hex(16)
    structlog.contextvars.bind_contextvars(request_id=request[REQUEST_ID])
    begun = time.perf_counter()
    deadline = None if request.match_info.handler in request.app[ENDLESS] else REQUEST_DEADLINE
    try:
        async with asyncio.timeout(deadline):
            response = await handler(request)
    except Exception as error:  # noqa: BLE001 - the one place where errors become responses; unforeseen ones are logged
        response = problem_response(request, _problem_of(error))
    seconds = time.perf_counter() - begun
    # The route's pattern: path and query may contain tokens and signatures.
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "-"
    # Clients choose the method. Each unknown one would add a time series.
    method = request.method if request.method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "-"
    request.app[SERVICE].metrics.answered(method, route, response.status, seconds, trace_of(request))
    if route not in _QUIET_ROUTES or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        asset_id = request.match_info.get("asset_id", "")[:36].lower()
        answered = AnsweredRequest(method, route, response.status, seconds, asset_id, request[REQUEST_ID])
        request.app[ACCESS_LOG](answered)
    return response


def trace_of(request: web.Request) -> str:
    """Return the id that joins the log lines of all parts: the load balancer's trace, else the request's id."""
    given = request.headers.get("X-Amzn-Trace-Id", "")
    return given if _TRACE.fullmatch(given) else request[REQUEST_ID]


def _problem_of(error: Exception) -> ProblemError:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, web.HTTPMethodNotAllowed):
        return ProblemError(ProblemCode.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(sorted(error.allowed_methods))})
    if isinstance(error, web.HTTPException):
        codes = {404: ProblemCode.NOT_FOUND, 413: ProblemCode.BODY_TOO_LARGE}
        return ProblemError(codes.get(error.status, ProblemCode.INVALID_REQUEST))
    if isinstance(error, (UnavailableError, RetryableError)):
        log.warning("api.dependency", error=str(error))
        return ProblemError(ProblemCode.UNAVAILABLE, headers={"Retry-After": "2"})
    if isinstance(error, TimeoutError):
        log.error("api.timeout", exc_info=error)
        return ProblemError(ProblemCode.TIMEOUT, headers={"Retry-After": "2"})
    log.error("api.unforeseen", exc_info=error)
    return ProblemError(ProblemCode.INTERNAL_ERROR)


def problem_response(request: web.BaseRequest, problem: ProblemError) -> web.Response:
    """Write a problem as RFC 9457 says. The title comes from the table of codes."""
    kind = KINDS[problem.code]
    body = ProblemOut(
        type=f"urn:docfliq:media:problem:{problem.code}",
        title=kind.title,
        status=kind.status,
        code=problem.code,
        detail=problem.detail,
        request_id=request[REQUEST_ID],
        errors=[FieldErrorOut(field=error.field, message=error.message) for error in problem.errors],
    )
    response = web.Response(
        body=body.model_dump_json(exclude_defaults=True).encode(),
        status=kind.status,
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", "Server": SERVER} | dict(problem.headers),
    )
    if problem.headers.get("Connection") == "close":
        response.force_close()  # the header alone would not close it
    return response


def cross_origin(origins: Sequence[str]) -> Middleware:
    """Answer preflights for `origins` (`*`: any). No cookies are used, so credentials are never allowed."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return await handler(request)
        if not _allowed(request.headers.get("Origin", ""), origins):
            raise ProblemError(ProblemCode.ORIGIN_NOT_ALLOWED)
        return web.Response(status=204, headers=_PREFLIGHT)

    return middleware


def headers_for(service: Service) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return a signal handler that completes the headers of every response before its first byte, streams included."""
    origins = service.settings.cors_origins

    async def complete(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in _ALWAYS.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = SERVER
        if request_id := request.get(REQUEST_ID):
            response.headers["X-Request-ID"] = request_id
        if allowance := request.get(ALLOWANCE):
            response.headers.update(allowance.headers())
        if origins:
            before = response.headers.get("Vary")
            response.headers["Vary"] = f"{before}, Origin" if before else "Origin"
            origin = request.headers.get("Origin", "")
            if _allowed(origin, origins):
                response.headers["Access-Control-Allow-Origin"] = origin
                response.headers["Access-Control-Expose-Headers"] = _EXPOSED

    return complete


def _allowed(origin: str, origins: Sequence[str]) -> bool:
    return bool(origin) and (origin in origins or "*" in origins)
