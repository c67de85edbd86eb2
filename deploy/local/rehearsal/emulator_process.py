"""The emulator's process of a rehearsal: what CloudFormation, IAM and S3 do in an account and ministack does not.

- A type of resource that it does not know is recorded under its name (`stand_ins.py`). Otherwise it would refuse the
  whole template, and the README's commands could not be typed as they stand.
- CloudFormation's numbers are text in ministack, and its ECS cannot count with them. A service's count stays as it is
  where a template states none.
- A service assumes the role that a template gives it. The caller is the account's root, in the place of ECS.
- IAM knows the actions of batches, and a role's session as that role.
- A large object is not read into memory for each range of it.
"""

import asyncio
import mmap
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core import iam_evaluator
from ministack.services import ecs, s3
from ministack.services.cloudformation import provisioners

from deploy.local import emulator_process
from deploy.local.emulator import ACCOUNT, REGION
from deploy.local.rehearsal.stand_ins import STAND_INS

_HANDLERS: dict[str, dict[str, Any]] = provisioners._RESOURCE_HANDLERS  # noqa: SLF001 - the one table of its types
_ministack_enforce = iam_evaluator.enforce
_resolve_condition_key = iam_evaluator._resolve_condition_key  # noqa: SLF001 - the one place that knows the keys
_evaluate_trust = iam_evaluator.evaluate_trust_policy
_read_body, _version_body = s3._read_body, s3._version_body  # noqa: SLF001 - the places that read an object
_ministack_send_response = app._send_response  # noqa: SLF001 - the one place that writes a response
_application = app.app
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_receive: ContextVar[Receive] = ContextVar("receive")

SOURCES = (f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/rehearsal", f"arn:aws:mediaconvert:{REGION}:{ACCOUNT}:queues/Default")
"""The ARNs by which ECS and MediaConvert say for what they assume a role."""
LARGE = 64 * 1024 * 1024
"""Bytes from which an object is mapped instead of read."""
PIECE = 256 * 1024
"""Bytes of one piece of a large body."""
VERBATIM = frozenset({"options"})
"""Keys of a task definition whose own keys are data, not names of the API."""


def _create(logical_id: str, _: Mapping[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
    name = f"{stack_name}-{logical_id}"
    return name, _attributes(name)


def _update(physical_id: str, _: Mapping[str, Any], __: Mapping[str, Any], ___: str) -> tuple[str, dict[str, str]]:
    return physical_id, _attributes(physical_id)


def _delete(_: str, __: Mapping[str, Any]) -> None:
    """Delete nothing: nothing was made."""


def _attributes(name: str) -> dict[str, str]:
    return {"Id": name, "Arn": f"arn:aws:rehearsal:{REGION}:{ACCOUNT}:{name}"}


def _alarms(handler: dict[str, Any]) -> dict[str, Any]:
    """Return the handler of alarms, with a stand-in for those on metric math."""

    def create(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        chosen = _create if properties.get("Metrics") else handler["create"]
        return chosen(logical_id, properties, stack_name)

    def update(
        physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str, logical_id: str = ""
    ) -> Any:
        if new.get("Metrics"):
            return _update(physical_id, old, new, stack_name)
        return handler["update"](physical_id, old, new, stack_name, logical_id)

    def delete(physical_id: str, properties: dict[str, Any]) -> None:
        if not properties.get("Metrics"):
            handler["delete"](physical_id, properties)

    return handler | {"create": create, "update": update, "delete": delete}


def _with_count(call: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Let a call that creates or updates a service take its count as a string, or none."""

    def counted(request: dict[str, Any]) -> Any:
        count = request.pop("desiredCount", None)
        return call(request if count is None else {**request, "desiredCount": int(count)})

    return counted


def _container_definitions(definitions: list[dict[str, Any]]) -> Any:
    """Return a template's containers as ECS's API spells them; ministack leaves the inner keys as they were."""
    return _camel(definitions)


def _camel(value: Any) -> Any:
    if isinstance(value, list):
        return [_camel(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    named = {key[:1].lower() + key[1:]: entry for key, entry in value.items()}
    return {key: entry if key in VERBATIM else _camel(entry) for key, entry in named.items()}


def _evaluate_trust_policy(document: Any, caller: str, context: iam_evaluator.EvalContext | None = None) -> bool:
    """Evaluate as ministack does, to which the root is any service, with the source that a service names."""
    if context is None or not caller.endswith(":root"):
        return bool(_evaluate_trust(document, caller, context))
    sources = [{"aws:sourceaccount": ACCOUNT, "aws:sourcearn": source} for source in SOURCES]
    contexts = [replace(context, service_context=context.service_context | source) for source in sources]
    return any(_evaluate_trust(document, caller, one) for one in contexts)


def _enforce(access_key: str, action: str, service: str, *arguments: Any, **named: Any) -> Any:
    """Enforce as ministack does, by the actions that AWS documents.

    SQS authorizes a batch by the right to its single call. Deleting versions needs no right to delete the current one.
    """
    if service == "sqs":
        action = action.removesuffix("Batch")
    denied = _ministack_enforce(access_key, action, service, *arguments, **named)
    if denied and action == "s3:DeleteObject":
        return _ministack_enforce(access_key, "s3:DeleteObjectVersion", service, *arguments, **named)
    return denied


def _condition_key(key: str, context: iam_evaluator.EvalContext) -> Any:
    """Resolve as ministack does; a session's `aws:PrincipalArn` is its role, not the session."""
    found = _resolve_condition_key(key, context)
    if key.lower() != "aws:principalarn" or ":assumed-role/" not in str(found):
        return found
    return f"arn:aws:iam::{ACCOUNT}:role/{found.split('/')[1]}"


def _read_version(bucket: dict[str, Any], bucket_name: str, key: str, version: dict[str, Any]) -> Any:
    """Return a version's content as ministack does, but a large one as a view of its file."""
    current = bucket["objects"].get(key)
    if current is not None and current.get("version_id") == version["version_id"]:
        return _read_current(bucket_name, key, current)
    return _version_body(bucket, bucket_name, key, version)


def _read_current(bucket_name: str, key: str, record: dict[str, Any]) -> Any:
    """Return an object's content as ministack does, but a large one as a view of its file."""
    path = s3._object_disk_path(bucket_name, key)  # noqa: SLF001 - where it has written it
    if record.get("body") is not None or record.get("size", 0) < LARGE or path is None:
        return _read_body(bucket_name, key, record)
    with Path(path).open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


async def _app(scope: Any, receive: Receive, send: Send) -> None:
    """Run ministack's application, and keep `receive` for `_send_response`, which gets no more than `send`."""
    _receive.set(receive)
    await _application(scope, receive, send)


async def _send_response(send: Send, status: int, headers: dict[str, Any], body: Any, *, head: bool = False) -> None:
    """Send as ministack does; a view of a file goes out in pieces, until the client has read enough."""
    if not isinstance(body, memoryview):
        await _ministack_send_response(send, status, headers, body, head=head)
        return
    listed = app._asgi_header_list({"Content-Length": len(body)} | headers)  # noqa: SLF001 - as in its own
    await send({"type": "http.response.start", "status": status, "headers": listed})
    leaving = asyncio.create_task(_disconnected(_receive.get()))
    try:
        for at in range(0, len(body), PIECE):
            await send({"type": "http.response.body", "body": bytes(body[at : at + PIECE]), "more_body": True})
            await asyncio.sleep(0)
            if leaving.done():
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        leaving.cancel()


async def _disconnected(receive: Receive) -> None:
    """Wait until the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def register() -> None:
    """Change ministack where an account does otherwise."""
    for kind in STAND_INS:
        _HANDLERS[kind] = {"create": _create, "update": _update, "delete": _delete}
    _HANDLERS["AWS::CloudWatch::Alarm"] = _alarms(_HANDLERS["AWS::CloudWatch::Alarm"])
    ecs._create_service = _with_count(ecs._create_service)  # noqa: SLF001 - CloudFormation calls it by this name
    ecs._update_service = _with_count(ecs._update_service)  # noqa: SLF001 - as above
    provisioners._normalize_container_defs = _container_definitions  # noqa: SLF001 - looked up for each definition
    iam_evaluator.evaluate_trust_policy = _evaluate_trust_policy
    iam_evaluator.enforce = _enforce
    iam_evaluator._resolve_condition_key = _condition_key  # noqa: SLF001 - looked up for each condition
    s3._read_body, s3._version_body = _read_current, _read_version  # noqa: SLF001 - looked up for each read
    app._port_is_bindable = lambda *_: False  # noqa: SLF001 - it would listen on 443 too
    app.app = _app
    app._send_response = _send_response  # noqa: SLF001 - looked up for each response


if __name__ == "__main__":
    register()
    emulator_process.main()
