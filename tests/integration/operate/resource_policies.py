"""The policies of buckets and queues, evaluated as AWS does it, for the few operators that they use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from deploy.local.emulator import ACCOUNT
from deploy.local.topology import ENVIRONMENT
from tests.integration.operate.policies import MEDIA, as_list, resolved


@dataclass(frozen=True, slots=True)
class Call:
    """Somebody's request: a role's ARN, or an AWS service; `context` are condition keys, absent ones not known."""

    action: str
    resource: str
    role: str = ""
    service: str = ""
    context: Mapping[str, str] = field(default_factory=dict)

    def known(self) -> dict[str, str]:
        principal = {"aws:PrincipalArn": self.role} if self.role else {}
        return {"aws:SecureTransport": "true", **principal, **self.context}


def of_role(name: str) -> str:
    """The ARN of a role of this environment."""
    return f"arn:aws:iam::{ACCOUNT}:role/{ENVIRONMENT}-media-{name}"


def policy(name: str) -> list[dict[str, Any]]:
    """The statements of one resource's policy."""
    statements: list[dict[str, Any]] = resolved(MEDIA[name]["Properties"]["PolicyDocument"])["Statement"]
    return statements


def denied(statements: list[dict[str, Any]], call: Call) -> list[str]:
    """The statements that refuse a call, whatever else allows it."""
    return [entry["Sid"] for entry in statements if entry["Effect"] == "Deny" and _speaks_of(entry, call)]


def allowed(statements: list[dict[str, Any]], call: Call) -> bool:
    """Whether the policy alone lets it through."""
    grants = [entry for entry in statements if entry["Effect"] == "Allow" and _speaks_of(entry, call)]
    return bool(grants) and not denied(statements, call)


def _speaks_of(statement: Mapping[str, Any], call: Call) -> bool:
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
    """A negated operator holds for a key that is not there, every other one does not."""
    match operator:
        case "Null":
            return str(given is None).lower() in wanted
        case "StringNotEquals" | "ArnNotEquals":
            return given is None or not any(fnmatchcase(given, pattern) for pattern in wanted)
        case "Bool" | "StringEquals" | "ArnEquals":
            return given is not None and any(fnmatchcase(given, pattern) for pattern in wanted)
    raise AssertionError(f"what {operator} means is not known here")
