"""Every endpoint answers valid and malformed requests as the OpenAPI document says, and never with 5xx."""

import random
from typing import Any
from uuid import uuid4

import pytest
from openapi_schema_validator import OAS31Validator

from api.openapi import document
from tests.integration.api.conftest import RunningApi, bearer

DOCUMENT = document()
OPERATIONS = [
    (method.upper(), path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if "text/event-stream" not in operation["responses"].get("200", {}).get("content", {})
]
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    2**70,
    1.5,
    "",
    "\0",
    "x" * 10_000,
    "../..",
    "﷽",
    [],
    {},
    ["a"],
    {"a": {}},
    "image",
    "image/jpeg",
    "public",
    "photo.jpg",
    str(uuid4()),
)


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return DOCUMENT["components"]["schemas"][name] if name else schema


def a_body(operation: dict[str, Any], dice: random.Random) -> Any:
    schema = resolve(operation["requestBody"]["content"]["application/json"]["schema"])
    names = [*schema["properties"], "surprise"]
    return {name: dice.choice(ODD) for name in names if dice.random() < 0.8}


def a_query(operation: dict[str, Any], dice: random.Random) -> dict[str, str]:
    names = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]
    return {name: str(dice.choice(ODD))[:2000] for name in names if dice.random() < 0.5}


def check_answer(operation: dict[str, Any], status: int, content_type: str, body: Any) -> None:
    assert status < 500
    assert str(status) in operation["responses"], (operation["operationId"], status, body)
    described = operation["responses"][str(status)].get("content", {})
    if not described:
        return
    assert content_type in described
    if "json" in content_type:
        schema = {"$ref": described[content_type]["schema"]["$ref"], "components": DOCUMENT["components"]}
        OAS31Validator(schema).validate(body)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=[o[2]["operationId"] for o in OPERATIONS])
async def test_answers_are_as_documented(
    shared_api: RunningApi, method: str, path: str, operation: dict[str, Any]
) -> None:
    asset_id = (await shared_api.announce())["asset_id"]
    dice = random.Random(7)  # noqa: S311 - the same odd requests every time
    for turn in range(40):
        target = path.replace("{asset_id}", dice.choice([asset_id, str(uuid4()), "x"])).replace("{path}", "master.m3u8")
        headers = bearer("doctor-1") if turn % 4 else {}
        options: dict[str, Any] = {"json": a_body(operation, dice)} if "requestBody" in operation else {}
        query = a_query(operation, dice)
        async with shared_api.http.request(method, target, headers=headers, params=query, **options) as answer:
            json_body = await answer.json(content_type=None) if "json" in answer.content_type else None
            check_answer(operation, answer.status, answer.content_type, json_body)
