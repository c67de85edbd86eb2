"""JSON requests into models, and models into JSON responses."""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ValidationError

from api.problems import FieldError, ProblemCode, ProblemError
from api.routing import JSON

BODY_LIMIT = 64 * 1024
"""Bytes of a request body. Our largest one has a file name and a few words."""
BODY_DEADLINE = 10.0
"""Seconds for a body to arrive, so that a slow client does not hold a connection for long."""
_CLOSE = {"Connection": "close"}
"""Sent when a body was not read to its end: the rest would be parsed as the next request."""


async def read_body[Model: BaseModel](
    request: web.Request, model: type[Model], media_types: Sequence[str] = (JSON,)
) -> Model:
    """Read the JSON body as a model.

    Raises ProblemError(unsupported_media_type, body_too_large, request_timeout, invalid_request).
    """
    return parse_body(await read_bytes(request, media_types), model)


async def read_bytes(request: web.Request, media_types: Sequence[str] = (JSON,)) -> bytes:
    """Read the body unchanged.

    Raises ProblemError(unsupported_media_type, body_too_large, request_timeout, invalid_request).
    """
    if request.content_type not in media_types:
        raise ProblemError(ProblemCode.UNSUPPORTED_MEDIA_TYPE, f"it may be {' or '.join(media_types)}")
    # Our bodies are small. Compressed ones would need a limit on what they decompress to.
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ProblemError(ProblemCode.UNSUPPORTED_MEDIA_TYPE, "a body must not be compressed", headers=_CLOSE)
    # Most bodies come with the head of their request. A timer for each would cost as much as to read it.
    deadline = None if request.content.is_eof() else BODY_DEADLINE
    try:
        async with asyncio.timeout(deadline):
            return await request.read()
    except TimeoutError as error:
        raise ProblemError(ProblemCode.REQUEST_TIMEOUT, headers=_CLOSE) from error
    except HttpProcessingError as error:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "the body is not HTTP", headers=_CLOSE) from error


def parse_body[Model: BaseModel](text: bytes, model: type[Model]) -> Model:
    """Parse JSON as a model. Raises ProblemError(invalid_request)."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise _invalid(error) from error


def read_query[Model: BaseModel](request: web.Request, model: type[Model]) -> Model:
    """Read the query string as a model, each name once unless it is a list. Raises ProblemError(invalid_request)."""
    lists = getattr(model, "REPEATABLE", frozenset[str]())
    given = {name: request.query.getall(name) for name in request.query}
    if any(len(values) > 1 for name, values in given.items() if name not in lists):
        raise ProblemError(ProblemCode.INVALID_REQUEST, "a parameter is given twice")
    try:
        return model.model_validate({name: values if name in lists else values[0] for name, values in given.items()})
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError) -> ProblemError:
    errors = [
        FieldError(
            ".".join(str(part) for part in problem["loc"])[:100], problem["msg"].removeprefix("Value error, ")[:200]
        )
        for problem in error.errors(include_url=False, include_context=False, include_input=False)[:20]
    ]
    return ProblemError(ProblemCode.INVALID_REQUEST, "; ".join(f"{e.field}: {e.message}" for e in errors[:3]), errors)


def json_response(model: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Send a model as JSON that no cache may store."""
    return web.Response(
        body=model.model_dump_json().encode(),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "private, no-store"} | dict(headers or {}),
    )


def json_response_if_changed(request: web.Request, model: BaseModel) -> web.Response:
    """Send a model as JSON with an ETag of its content, or 304 when the client has it already."""
    response = web.Response(
        body=model.model_dump_json().encode(),
        content_type="application/json",
        headers={"Cache-Control": "private, no-cache", "Vary": "Authorization"},
    )
    return not_modified_if(request, response)


def not_modified_if(request: web.Request, response: web.Response) -> web.Response:
    """Add an ETag of the body to the response, or return 304 when the client has it already."""
    body = response.body if isinstance(response.body, bytes) else b""
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    response.headers["ETag"] = etag
    # Weak comparison, as RFC 9110 demands for GET.
    given = request.headers.get("If-None-Match", "")
    if given.strip() != "*" and etag not in {part.strip().removeprefix("W/") for part in given.split(",")}:
        return response
    kept = {name: value for name, value in response.headers.items() if name not in {"Content-Type", "Content-Length"}}
    return web.Response(status=304, headers=kept)


def unchanging_response(
    request: web.Request, plain: bytes, compressed: bytes | None, headers: Mapping[str, str]
) -> web.Response:
    """Answer with what stays until the next release, compressed where the client takes it.

    Each form has an ETag of its own (RFC 9110, 8.8.3.3).
    """
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"} | dict(headers)
    if compressed and takes_gzip(request):
        answer = web.Response(body=compressed, headers=headers | {"Content-Encoding": "gzip"})
    else:
        answer = web.Response(body=plain, headers=headers)
    return not_modified_if(request, answer)


def takes_gzip(request: web.Request) -> bool:
    """Say whether `Accept-Encoding` allows gzip (RFC 9110, 12.5.3): it or `*` is named, and not with the weight 0."""
    weights: dict[str, bool] = {}
    for part in request.headers.get("Accept-Encoding", "").lower().split(","):
        coding, _, weight = part.partition(";")
        weights[coding.strip()] = not re.fullmatch(r"q=0(\.0*)?", weight.strip())
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))
