"""The OpenAPI 3.1 document, generated from the routes, the models and the table of problems."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api.problems import KINDS, ProblemCode
from api.routes import ROUTES
from api.routing import ALWAYS, JSON, MEDIA, Endpoint
from api.schemas.assets import ProblemOut, StreamEvent
from api.views.content_types import ANNOUNCED

type Schema = dict[str, Any]

_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_HEADERS = {
    "Idempotency-Key": "Makes repeating safe: the same key and request name the same asset.",
    "X-Media-Signature": 't=<unix>,v1=<hex HMAC-SHA256 of "t.body">; at most 5 minutes old.',
    "Last-Event-ID": "The id of the last event received; later changes are sent first.",
}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
LIMIT_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy")
_ANSWERED: Mapping[str, tuple[str, Schema]] = {
    "ETag": ("Of this answer, for If-None-Match.", {"type": "string"}),
    "Location": ("The path of what was made.", {"type": "string"}),
    "RateLimit-Limit": ("Requests of this kind in a minute, where they are limited.", _WHOLE),
    "RateLimit-Policy": ("The limit and its window in seconds.", {"type": "string"}),
    "RateLimit-Remaining": ("Requests that are left in this minute.", _WHOLE),
    "RateLimit-Reset": ("Seconds until the next minute begins.", _WHOLE),
    "Retry-After": ("Seconds to wait before the request is repeated.", _WHOLE),
    "WWW-Authenticate": ("What is wrong with the token (RFC 6750).", {"type": "string"}),
    "X-Request-ID": ("Finds the request's line in the log.", {"type": "string"}),
}
"""Headers of answers, with their schemas."""
_TAGS = {
    "uploads": "Send files.",
    "assets": "See what became of them, play and delete them.",
    "callbacks": "Reports of other services.",
    "operators": "Dead letters and what does not move.",
    "service": "Health and metrics.",
}
_TAG_OF = {
    "upload": "uploads",
    "ops": "operators",
    "internal": "callbacks",
    **dict.fromkeys(("health", "livez", "readyz", "metrics"), "service"),
}
"""The tag of an endpoint by the first part of its path. Of all others it is `assets`."""
_PUBLIC_NAMES = {"DeliveryClass": "Delivery"}
"""Component names by class name, where they differ. Generated clients name their types after components."""


def document(version: str = "1") -> Schema:
    """Generate the whole document, ready to be written as JSON."""
    schemas = _schemas()
    paths: dict[str, Schema] = defaultdict(dict)
    for route in ROUTES:
        paths[_PARAMETER.sub(r"{\1}", route.path)][route.method.lower()] = _operation(route, schemas)
    for query in {route.query.__name__ for route in ROUTES if route.query}:
        del schemas[query]  # its fields are parameters
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Docfliq media service",
            "version": version,
            "description": "Takes uploads, proves that they are safe, and hands out URLs for what became of them.",
        },
        "servers": [{"url": "/", "description": "Where this document was fetched"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": dict(paths),
        "components": {
            "schemas": schemas,
            "headers": {name: {"description": text, "schema": schema} for name, (text, schema) in _ANSWERED.items()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _schemas() -> Schema:
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (ProblemOut, "serialization"),
        (StreamEvent, "serialization"),
    ]
    for route in ROUTES:
        models += [(model, "validation") for model in (route.body, route.query) if model]
        models += [(route.response, "serialization")] if route.response else []
    _, definitions = models_json_schema(list(dict.fromkeys(models)), ref_template=_REF)
    text = json.dumps(definitions["$defs"])
    for name, public in _PUBLIC_NAMES.items():
        text = re.sub(rf"\b{name}\b", public, text)  # in titles and references too
    found: Schema = json.loads(text)
    for model in found.values():
        for field in model.get("properties", {}).values():
            if field.get("default", "") is None:
                del field["default"]  # generated clients demand a field that has one
    for announced in (model for name, model in found.items() if name in {"UploadRequest", "MultipartRequest"}):
        announced["properties"]["content_type"]["enum"] = ANNOUNCED
    return found


def _operation(route: Endpoint, schemas: Schema) -> Schema:
    text = (route.handler.__doc__ or "").strip()
    first = route.path.removeprefix(f"{MEDIA}/").removeprefix("/api/v1/").removeprefix("/").partition("/")[0]
    operation: Schema = {
        "operationId": route.handler.__name__,
        "summary": text.splitlines()[0] if text else route.handler.__name__.replace("_", " ").capitalize(),
        "tags": [_TAG_OF.get(first, "assets")],
        "parameters": list(_parameters(route, schemas)),
        "responses": _responses(route),
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": _ref(route.body)}}}
        # With a second type of the same body, generated clients do not compile.
        if others := [f"`{media_type}`" for media_type in route.body_types if media_type != JSON]:
            operation["requestBody"]["description"] = f"Also taken as {' and '.join(others)}."
    operation["security"] = [{"bearer": []}] if route.bearer else []
    return operation


def _parameters(route: Endpoint, schemas: Schema) -> Iterator[Schema]:
    text: Schema = {"type": "string"}
    in_paths: Mapping[str, Schema] = {"asset_id": {"type": "string", "format": "uuid"}}
    for name in _PARAMETER.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": in_paths.get(name, text)}
    query = schemas[route.query.__name__] if route.query else {"properties": {}}
    for name, given in query["properties"].items():
        # A parameter is left out, never null: a generated client would send an empty one.
        kinds = [kind for kind in given.get("anyOf", ()) if kind != {"type": "null"}]
        schema = {**kinds[0], **{key: value for key, value in given.items() if key != "anyOf"}} if kinds else given
        yield {"name": name, "in": "query", "required": name in query.get("required", ()), "schema": schema}
    for name in (*route.headers, *(["If-None-Match"] if route.cached else [])):
        described = {"description": _HEADERS[name]} if name in _HEADERS else {}
        yield {"name": name, "in": "header", "required": False, "schema": text, **described}


def _responses(route: Endpoint) -> Schema:
    usual = ["X-Request-ID", *(LIMIT_HEADERS if route.bearer else [])]
    told = [*usual, *(["ETag"] if route.cached else []), *(["Location"] if route.status == HTTPStatus.CREATED else [])]
    success: Schema = {"description": "Done.", "headers": _headers(told)}
    if route.status != HTTPStatus.NO_CONTENT:
        schema = _ref(route.response) if route.response else {"type": "string"}
        if route.media_type == "text/event-stream":
            schema |= {"contentMediaType": route.media_type, "contentSchema": _ref(StreamEvent)}
        success["content"] = {route.media_type: {"schema": schema}}
    responses: Schema = {str(route.status): success}
    if route.cached:
        responses["304"] = {"description": "Not changed since the ETag given.", "headers": _headers([*usual, "ETag"])}
    by_status: dict[int, list[ProblemCode]] = defaultdict(list)
    for code in (*route.problems, *ALWAYS):
        by_status[KINDS[code].status].append(code)
    for status, codes in sorted(by_status.items()):
        described = " ".join(f"`{code}`: {KINDS[code].title}" for code in dict.fromkeys(codes))
        content = {"application/problem+json": {"schema": _ref(ProblemOut)}}
        more = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}.get(status, [])
        headers = _headers(["X-Request-ID", *more])
        responses[str(status)] = {"description": described, "headers": headers, "content": content}
    return responses


def _headers(names: Sequence[str]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _ref(model: type[BaseModel]) -> Schema:
    return {"$ref": _REF.format(model=model.__name__)}
