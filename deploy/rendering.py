"""All templates together as CloudFormation would create them, with their functions evaluated for given parameters.

No two templates have a resource, an output or a different condition of the same name, so that they are read as one.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from deploy.local.rehearsal.templates import PARTS, template

_ABSENT = object()
"""The value of AWS::NoValue: what has it is left out."""
_NAMES = ("LogGroupName", "QueueName", "BucketName", "RoleName", "ClusterName", "ServiceName", "Name")
"""The properties that hold a resource's name."""
_IDS = ("Name", "Key", "Id", "Sid", "PolicyName", "Description")
"""The properties by which a path finds an element of a list."""


@functools.cache
def _merged(section: str) -> Mapping[str, Any]:
    merged: dict[str, Any] = {}
    for part in PARTS:
        for name, declared in template(part).get(section, {}).items():
            if merged.setdefault(name, declared) != declared:
                raise ValueError(f"{section}: {name} of {part}.yaml is another one than that of an earlier template")
    return merged


@functools.cache
def _resources() -> Mapping[str, Any]:
    return {key: body for name, part in _merged("Resources").items() for key, body in _expanded(name, part).items()}


class Deployment:
    """The resources of all templates for these parameters; the others have their defaults."""

    def __init__(self, parameters: Mapping[str, str], account: str, region: str) -> None:
        declared = _merged("Parameters")
        if unknown := set(parameters) - set(declared):
            raise ValueError(f"no template has the parameters {', '.join(sorted(unknown))}")
        given = {name: str(info["Default"]) for name, info in declared.items() if "Default" in info}
        self._parameters = {**given, **parameters}
        self._pseudo = {
            "AWS::Partition": "aws",
            "AWS::Region": region,
            "AWS::AccountId": account,
            "AWS::URLSuffix": "amazonaws.com",
        }
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._reference,
            "Fn::Sub": lambda text: self._substitute(*text) if isinstance(text, list) else self._substitute(text, {}),
            "Fn::GetAtt": lambda of: self.arn(of[0]) if of[1] == "Arn" else ".".join(of),
            "Fn::If": lambda of: self.value(of[1] if self.holds(of[0]) else of[2]),
            "Fn::ImportValue": lambda name: self.value(self._exports[self.value(name)]),
            "Fn::Join": lambda of: of[0].join(self.value(of[1])),
            "Fn::Select": lambda of: self.value(of[1])[int(of[0])],
            "Fn::Split": lambda of: self.value(of[1]).split(of[0]),
        }
        self._exports = {
            self.value(output["Export"]["Name"]): output["Value"]
            for output in _merged("Outputs").values()
            if "Export" in output
        }

    def at(self, path: str) -> Any:
        """Return the value at RESOURCE/PROPERTY/…, or None. An element of a list is found by its name.

        A resource whose condition does not hold is not there.
        """
        name, *steps = path.split("/")
        resource = _resources()[name]
        if "Condition" in resource and not self.holds(resource["Condition"]):
            return None
        here: Any = self.value(resource.get("Properties", {}))
        for step in steps:
            if isinstance(here, list):
                here = next((e for e in here if isinstance(e, dict) and step in {e.get(key) for key in _IDS}), None)
            else:
                here = here.get(step) if isinstance(here, dict) else None
        return here["Value"] if isinstance(here, dict) and "Value" in here else here

    def of_type(self, kind: str) -> dict[str, Any]:
        """Return the properties of every resource of one type, by its name."""
        names = [name for name, resource in _resources().items() if resource["Type"] == kind]
        return {name: found for name in names if (found := self.at(name)) is not None}

    def holds(self, condition: str) -> bool:
        """Say whether a condition holds."""
        return bool(self._logical(_merged("Conditions")[condition]))

    def value(self, node: Any) -> Any:
        """Evaluate the functions in a part of a template."""
        if isinstance(node, list):
            return [part for part in map(self.value, node) if part is not _ABSENT]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(function, argument)] = node.items()
            if function in self._functions:
                return self._functions[function](argument)
        evaluated = {key: self.value(part) for key, part in node.items()}
        return {key: part for key, part in evaluated.items() if part is not _ABSENT}

    def arn(self, resource: str) -> str:
        """Return the ARN of a resource, from its name."""
        name, kind = self.name(resource), _merged("Resources")[resource]["Type"]
        account, region = self._pseudo["AWS::AccountId"], self._pseudo["AWS::Region"]
        service, place, prefix = {
            "AWS::SQS::Queue": ("sqs", f"{region}:{account}", ""),
            "AWS::S3::Bucket": ("s3", ":", ""),
            "AWS::IAM::Role": ("iam", f":{account}", "role/"),
            "AWS::Events::Rule": ("events", f"{region}:{account}", "rule/"),
        }[kind]
        return f"arn:aws:{service}:{place}:{prefix}{name}"

    def name(self, resource: str) -> str:
        """Return the name of a resource, from the property that its type has for it, or else its logical id."""
        properties = _merged("Resources")[resource].get("Properties", {})
        return str(self.value(next((properties[key] for key in _NAMES if key in properties), resource)))

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _ABSENT
        if name not in self._parameters:
            return self._pseudo.get(name) or self.name(name)
        given = self._parameters[name]
        is_list = re.match(r"CommaDelimitedList|List<", _merged("Parameters")[name]["Type"])
        return given.split(",") if is_list else given

    def _substitute(self, text: str, variables: Mapping[str, Any]) -> str:
        def replaced(match: re.Match[str]) -> str:
            name, _, attribute = match[1].partition(".")
            node = {"Fn::GetAtt": [name, attribute]} if attribute else {"Ref": name}
            return str(self.value(variables.get(match[1], node)))

        return re.sub(r"\$\{([^}]+)\}", replaced, text)

    def _logical(self, node: Any) -> Any:
        match node:
            case {"Fn::Equals": [one, other]}:
                return str(self._logical(one)) == str(self._logical(other))
            case {"Fn::Not": [inner]}:
                return not self._logical(inner)
            case {"Fn::And": parts}:
                return all(map(self._logical, parts))
            case {"Fn::Or": parts}:
                return any(map(self._logical, parts))
            case {"Condition": name}:
                return self.holds(name)
        return self.value(node)


def _expanded(name: str, part: Any) -> dict[str, Any]:
    """Expand a loop of the language extensions; any other resource is itself."""
    if not name.startswith("Fn::ForEach::"):
        return {name: part}
    variable, values, bodies = part
    found: dict[str, Any] = {}
    for value in values:
        for key, body in bodies.items():
            logical_id = key.replace(f"&{{{variable}}}", re.sub(r"[^A-Za-z0-9]", "", value))
            found[logical_id] = _with_value(body, f"${{{variable}}}", value)
    return found


def _with_value(node: Any, variable: str, value: str) -> Any:
    if isinstance(node, dict):
        return {key: _with_value(part, variable, value) for key, part in node.items()}
    if isinstance(node, list):
        return [_with_value(part, variable, value) for part in node]
    return node.replace(variable, value) if isinstance(node, str) else node
