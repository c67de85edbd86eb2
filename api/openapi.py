"""The OpenAPI 3.1 document, generated from the routes, the models and the table of problems."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api.problems import KINDS, ProblemCode
from api.routes import ROUTES
from api.routing import ALWAYS, Endpoint
from api.schemas.assets import ProblemOut

_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_HEADERS = {
    "Idempotency-Key": "Makes repeating safe: the same key and request name the same asset.",
    "X-Media-Signature": 't=<unix>,v1=<hex HMAC-SHA256 of "t.body">; at most 5 minutes old.',
    "Last-Event-ID": "The id of the last event received; later changes are sent first.",
}
_PUBLIC_NAMES = {"DeliveryClass": "Delivery"}
"""Component names by class name, where they differ. Generated clients name their types after components."""

type Schema = dict[str, Any]


def document(version: str = "1") -> Schema:
    """Generate the whole document, ready to be written as JSON."""
    schemas = _schemas()
    paths: dict[str, Schema] = defaultdict(dict)
    for route in ROUTES:
        paths[_PARAMETER.sub(r"{\1}", route.path)][route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Docfliq media service",
            "version": version,
            "description": "Takes uploads, proves that they are safe, and hands out URLs for what became of them.",
        },
        "paths": dict(paths),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _schemas() -> Schema:
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(ProblemOut, "serialization")]
    for route in ROUTES:
        models += [(model, "validation") for model in (route.body, route.query) if model]
        models += [(route.response, "serialization")] if route.response else []
    _, definitions = models_json_schema(list(dict.fromkeys(models)), ref_template=_REF)
    text = json.dumps(definitions["$defs"])
    for name, public in _PUBLIC_NAMES.items():
        text = re.sub(rf"\b{name}\b", public, text)  # in titles and references too
    found: Schema = json.loads(text)
    return found


def _operation(route: Endpoint, schemas: Schema) -> Schema:
    text = (route.handler.__doc__ or "").strip()
    operation: Schema = {
        "operationId": route.handler.__name__,
        "summary": text.splitlines()[0] if text else route.handler.__name__.replace("_", " ").capitalize(),
        "parameters": list(_parameters(route, schemas)),
        "responses": _responses(route),
    }
    if route.body:
        content = {"application/json": {"schema": _ref(route.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    if route.bearer:
        operation["security"] = [{"bearer": []}]
    return operation


def _parameters(route: Endpoint, schemas: Schema) -> Iterator[Schema]:
    text: Schema = {"type": "string"}
    kinds: Mapping[str, Schema] = {"asset_id": {"type": "string", "format": "uuid"}}
    for name in _PARAMETER.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": kinds.get(name, text)}
    query = schemas[route.query.__name__] if route.query else {"properties": {}}
    for name, schema in query["properties"].items():
        yield {"name": name, "in": "query", "required": name in query.get("required", ()), "schema": schema}
    for name in (*route.headers, *(["If-None-Match"] if route.cached else [])):
        described = {"description": _HEADERS[name]} if name in _HEADERS else {}
        yield {"name": name, "in": "header", "required": False, "schema": text, **described}


def _responses(route: Endpoint) -> Schema:
    success: Schema = {"description": "Done."}
    if route.status != HTTPStatus.NO_CONTENT:
        schema = _ref(route.response) if route.response else {"type": "string"}
        success["content"] = {route.media_type: {"schema": schema}}
    responses: Schema = {str(route.status): success}
    if route.cached:
        responses["304"] = {"description": "Not changed since the ETag given."}
    by_status: dict[int, list[ProblemCode]] = defaultdict(list)
    for code in (*route.problems, *ALWAYS):
        by_status[KINDS[code].status].append(code)
    for status, codes in sorted(by_status.items()):
        described = " ".join(f"`{code}`: {KINDS[code].title}" for code in dict.fromkeys(codes))
        content = {"application/problem+json": {"schema": _ref(ProblemOut)}}
        responses[str(status)] = {"description": described, "content": content}
    return responses


def _ref(model: type[BaseModel]) -> Schema:
    return {"$ref": _REF.format(model=model.__name__)}
