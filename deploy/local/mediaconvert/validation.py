"""A complete check of a request against botocore's service model.

botocore's own validator looks at types and required members only; the service also refuses unknown members, values
outside an enum, numbers and lengths outside their range, and strings that do not match their pattern.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape


@functools.cache
def service_model() -> ServiceModel:
    """Load MediaConvert's service model, as botocore ships it."""
    return botocore.session.get_session().get_service_model("mediaconvert")


def operation(name: str) -> OperationModel:
    """Return an operation's model. Raises OperationNotFoundError for a name that MediaConvert does not have."""
    return service_model().operation_model(name)


def wire_name(name: str, member: Shape) -> str:
    """Return a member's name in the REST document: `role` for `Role`."""
    return str(member.serialization.get("name", name))


def violations(shape: Shape | None, value: Any, path: str = "", *, wire: bool = False) -> list[str]:
    """List the reasons why `value` is not of `shape`, each after the path of the member; none when it is.

    `value` has the names of boto's arguments (`Role`), with `wire` those of the REST document (`role`).
    """
    if shape is None:
        return [f"{path or '/'}: this operation takes nothing"] if value else []
    check = _CHECKS.get(shape.type_name)
    if check is None:
        return [f"{path or '/'}: values of type {shape.type_name} are not part of a request"]
    return check(shape, value, path, wire)


def _structure(shape: Shape, value: Any, path: str, wire: bool) -> list[str]:
    assert isinstance(shape, StructureShape)  # noqa: S101 - narrows what type_name has already said
    if not isinstance(value, Mapping):
        return [_wrong_type(path, "object")]
    members = {(wire_name(name, member) if wire else name): member for name, member in shape.members.items()}
    required = [wire_name(name, shape.members[name]) if wire else name for name in shape.required_members]
    found = [f"{path or '/'}: {name} is a required property" for name in required if name not in value]
    for name, item in value.items():
        if name in members:
            found += violations(members[name], item, f"{path}/{name}", wire=wire)
        else:
            found.append(f"{path or '/'}: {name} is not a known property")
    return found


def _list(shape: Shape, value: Any, path: str, wire: bool) -> list[str]:
    assert isinstance(shape, ListShape)  # noqa: S101 - narrows what type_name has already said
    if not isinstance(value, list | tuple):
        return [_wrong_type(path, "array")]
    found = _range(shape, len(value), path, "items")
    for index, item in enumerate(value):
        found += violations(shape.member, item, f"{path}/{index}", wire=wire)
    return found


def _map(shape: Shape, value: Any, path: str, wire: bool) -> list[str]:
    assert isinstance(shape, MapShape)  # noqa: S101 - narrows what type_name has already said
    if not isinstance(value, Mapping):
        return [_wrong_type(path, "object")]
    found = []
    for name, item in value.items():
        found += violations(shape.key, name, f"{path}/{name}", wire=wire)
        found += violations(shape.value, item, f"{path}/{name}", wire=wire)
    return found


def _string(shape: Shape, value: Any, path: str, wire: bool) -> list[str]:  # noqa: ARG001 - all checks look alike
    if not isinstance(value, str):
        return [_wrong_type(path, "string")]
    found = _range(shape, len(value), path, "characters")
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        found.append(f"{path}: Should be equal to one of the allowed values in {allowed}")
    pattern = shape.metadata.get("pattern")
    if pattern and not re.search(pattern, value):
        found.append(f"{path}: Should match the pattern {pattern}")
    return found


def _integer(shape: Shape, value: Any, path: str, wire: bool) -> list[str]:  # noqa: ARG001 - all checks look alike
    if isinstance(value, bool) or not isinstance(value, int):
        return [_wrong_type(path, "integer")]
    return _range(shape, value, path)


def _number(shape: Shape, value: Any, path: str, wire: bool) -> list[str]:  # noqa: ARG001 - all checks look alike
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return [_wrong_type(path, "number")]
    # The model keeps no range for doubles except in the shape's own name.
    if "Min0" in shape.name and value < 0:
        return [f"{path}: Should be greater than or equal to 0"]
    return _range(shape, value, path)


def _boolean(shape: Shape, value: Any, path: str, wire: bool) -> list[str]:  # noqa: ARG001 - all checks look alike
    return [] if isinstance(value, bool) else [_wrong_type(path, "boolean")]


def _range(shape: Shape, size: float, path: str, unit: str = "") -> list[str]:
    found = []
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        found.append(f"{path}: Should be greater than or equal to {least} {unit}".rstrip())
    if most is not None and size > most:
        found.append(f"{path}: Should be less than or equal to {most} {unit}".rstrip())
    return found


def _wrong_type(path: str, wanted: str) -> str:
    return f"{path or '/'}: Should be of type {wanted}"


_CHECKS: dict[str, Callable[[Shape, Any, str, bool], list[str]]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _integer,
    "long": _integer,
    "double": _number,
    "float": _number,
    "boolean": _boolean,
}


def from_wire(shape: Shape | None, value: Any) -> Any:
    """Convert a REST document to boto's names. `value` has passed `violations(…, wire=True)`."""
    return _renamed(shape, value, read=wire_name, write=_own_name)


def to_wire(shape: Shape | None, value: Any) -> Any:
    """Convert boto's names to a REST document. Members that are None are left out."""
    return _renamed(shape, value, read=_own_name, write=wire_name)


type Naming = Callable[[str, Shape], str]


def _own_name(name: str, member: Shape) -> str:  # noqa: ARG001 - the other naming needs it
    return name


def _renamed(shape: Shape | None, value: Any, *, read: Naming, write: Naming) -> Any:
    if isinstance(shape, StructureShape):
        return {
            write(name, member): _renamed(member, value[read(name, member)], read=read, write=write)
            for name, member in shape.members.items()
            if value.get(read(name, member)) is not None
        }
    if isinstance(shape, ListShape):
        return [_renamed(shape.member, item, read=read, write=write) for item in value]
    if isinstance(shape, MapShape):
        return {key: _renamed(shape.value, item, read=read, write=write) for key, item in value.items()}
    return value
