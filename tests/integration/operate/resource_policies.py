"""Evaluate the policies of buckets and queues as AWS does, for the few operators that they use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tests.integration.operate.iam_policies import DEPLOYMENT, MEDIA, as_list, resolved


@dataclass(frozen=True, slots=True)
class Call:
    """A request by a role's ARN or by an AWS service. `context` holds the condition keys; absent ones are unknown."""

    action: str
    resource: str
    role: str = ""
    service: str = ""
    context: Mapping[str, str] = field(default_factory=dict)

    def known(self) -> dict[str, str]:
        principal = {"aws:PrincipalArn": self.role} if self.role else {}
        return {"aws:SecureTransport": "true", **principal, **self.context}


def of_role(name: str) -> str:
    """Return the ARN of a role of this environment."""
    return DEPLOYMENT.arn({"mediaconvert": "MediaConvertRole"}.get(name, f"{name.capitalize()}Role"))


def policy(name: str) -> list[dict[str, Any]]:
    """Return the statements of one resource's policy."""
    statements: list[dict[str, Any]] = resolved(MEDIA[name]["Properties"]["PolicyDocument"])["Statement"]
    return statements


def denied(statements: list[dict[str, Any]], call: Call) -> list[str]:
    """Return the ids of the statements that refuse a call."""
    return [entry["Sid"] for entry in statements if entry["Effect"] == "Deny" and _applies_to(entry, call)]


def allowed(statements: list[dict[str, Any]], call: Call) -> bool:
    """Say whether the policy alone allows a call."""
    grants = [entry for entry in statements if entry["Effect"] == "Allow" and _applies_to(entry, call)]
    return bool(grants) and not denied(statements, call)


def _applies_to(statement: Mapping[str, Any], call: Call) -> bool:
    who = statement["Principal"]
    return (
        (who == "*" or who["Service"] == call.service)
        and any(fnmatchcase(call.action, action) for action in as_list(statement["Action"]))
        and any(fnmatchcase(call.resource, pattern) for pattern in as_list(statement["Resource"]))
        and all(
            _holds(operator, call.known().get(key), as_list(wanted))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(operator: str, given: str | None, wanted: list[str]) -> bool:
    """Evaluate a condition. With an absent key, only negated operators hold."""
    match operator:
        case "Null":
            return str(given is None).lower() in wanted
        case "StringNotEquals" | "ArnNotEquals":
            return given is None or not any(fnmatchcase(given, pattern) for pattern in wanted)
        case "Bool" | "StringEquals" | "ArnEquals":
            return given is not None and any(fnmatchcase(given, pattern) for pattern in wanted)
    raise AssertionError(f"the operator {operator} is not known here")
