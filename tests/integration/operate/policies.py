"""IAM policies of service.yaml, evaluated, and the actions that calls need."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml  # type: ignore[import-untyped] # ships no types

from deploy.local.emulator import ACCOUNT, REGION
from deploy.local.topology import ENVIRONMENT, RECORDINGS_BUCKET

TEMPLATE = Path(__file__).parents[3] / "deploy" / "cloudformation" / "service.yaml"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/mediaconvert"
"""The role that the embedded stack hands to its transcoder."""
_VALUES = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "Environment": ENVIRONMENT,
    "RecordingsBucket": RECORDINGS_BUCKET,
}


@dataclass(frozen=True, slots=True)
class Need:
    """An action on a resource."""

    action: str
    resource: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """One action of one statement."""

    statement: str
    action: str
    resources: tuple[str, ...]

    def covers(self, need: Need) -> bool:
        return need.action == self.action and any(fnmatchcase(need.resource, pattern) for pattern in self.resources)


def allowances(role: str) -> list[Allowance]:
    """What a role of the template may do."""
    found: list[Allowance] = []
    for policy in cfn_yaml.load(str(TEMPLATE))["Resources"][role]["Properties"]["Policies"]:
        for entry in policy["PolicyDocument"]["Statement"]:
            statement = entry["Fn::If"][1] if "Fn::If" in entry else entry
            resources = tuple(_text(resource) for resource in _list(statement["Resource"]))
            found += [Allowance(statement["Sid"], action, resources) for action in _list(statement["Action"])]
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    if "Fn::If" in value:
        return _text(value["Fn::If"][1])
    if "Fn::GetAtt" in value:
        return ROLE
    return re.sub(r"\$\{([^}]+)\}", lambda match: _VALUES[match[1]], value["Fn::Sub"])


_PLAIN = {
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "PutObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "AbortMultipartUpload": "AbortMultipartUpload",
    "ListParts": "ListMultipartUploadParts",
}
_BY_VERSION = {
    "HeadObject": ("GetObject", "GetObjectVersion"),
    "GetObject": ("GetObject", "GetObjectVersion"),
    "GetObjectTagging": ("GetObjectTagging", "GetObjectVersionTagging"),
    "PutObjectTagging": ("PutObjectTagging", "PutObjectVersionTagging"),
    "DeleteObject": ("DeleteObject", "DeleteObjectVersion"),
    "DeleteObjects": ("DeleteObject", "DeleteObjectVersion"),
}
_BATCHES = {
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "SendMessageBatch": "SendMessage",
}


def needs(service: str, operation: str, params: Mapping[str, Any]) -> Iterator[Need]:
    """What IAM asks for one call, by the Service Authorization Reference."""
    match service:
        case "sqs":
            name = str(params["QueueUrl"]).rsplit("/", 1)[-1]
            action = _BATCHES.get(operation, operation)
            yield Need(f"sqs:{action}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
        case "mediaconvert":
            kind = "jobs/x" if operation in {"GetJob", "CancelJob"} else "queues/Default"
            yield Need(f"mediaconvert:{operation}", f"arn:aws:mediaconvert:{REGION}:{ACCOUNT}:{kind}")
            if operation == "CreateJob":
                yield Need("iam:PassRole", str(params["Role"]))
        case _:
            yield from _of_s3(operation, params)


def _of_s3(operation: str, params: Mapping[str, Any]) -> Iterator[Need]:
    target = f"arn:aws:s3:::{params['Bucket']}"
    if "Key" in params:
        target += f"/{params['Key']}"
    if operation in _PLAIN:
        yield Need(f"s3:{_PLAIN[operation]}", target)
        if params.get("Tagging"):
            yield Need("s3:PutObjectTagging", target)
    elif operation in _BY_VERSION:
        yield Need(f"s3:{_BY_VERSION[operation][bool(params.get('VersionId'))]}", target)
    elif operation in {"CopyObject", "UploadPartCopy"}:
        source = params["CopySource"]
        origin, version = f"arn:aws:s3:::{source['Bucket']}/{source['Key']}", "Version" if "VersionId" in source else ""
        yield Need(f"s3:GetObject{version}", origin)
        yield Need("s3:PutObject", target)
        if operation == "CopyObject":
            yield Need(f"s3:GetObject{version}Tagging", origin)
            yield Need("s3:PutObjectTagging", target)
    else:
        raise AssertionError(f"which action {operation} needs is not known here")
