"""IAM policies of the templates, with their functions resolved for one environment."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from deploy.local.emulator import ACCOUNT, REGION
from deploy.local.rehearsal.templates import template
from deploy.local.topology import ENVIRONMENT, RECORDINGS_BUCKET
from deploy.rendering import Deployment

DISTRIBUTION = f"arn:aws:cloudfront::{ACCOUNT}:distribution/ABC"
MEDIA, ROLES, SERVICE = (template(part)["Resources"] for part in ("media", "roles", "service"))
PARAMETERS = {
    "Environment": ENVIRONMENT,
    "RecordingsBucket": RECORDINGS_BUCKET,
    "ServiceImage": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/media@sha256:0",
    "ScannerImage": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/scanner@sha256:0",
    "DatabaseSecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:database-abcdef",
    "ApiSecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:api-abcdef",
    "CloudFrontDistributionArn": DISTRIBUTION,
    "CloudFrontPublicKey": "PEM",
    "CloudFrontDomain": "media.docfliq.example",
    "SharedRateLimits": "true",
    "MediaConvertRoleName": "mediaconvert",  # the role that the embedded stack hands to its transcoder
}
DEPLOYMENT = Deployment(PARAMETERS, ACCOUNT, REGION)


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


def resolved(value: Any, deployment: Deployment | None = None) -> Any:
    """Evaluate the functions in a part of a template. Parts whose condition does not hold are left out."""
    return (deployment or DEPLOYMENT).value(value)


def allowances(role: str, **parameters: str) -> list[Allowance]:
    """Return what a role may do. `parameters` are given in addition to the usual ones."""
    deployment = Deployment({**PARAMETERS, **parameters}, ACCOUNT, REGION)
    found: list[Allowance] = []
    for policy in ROLES[role]["Properties"]["Policies"]:
        for statement in resolved(policy["PolicyDocument"], deployment)["Statement"]:
            resources = tuple(as_list(statement["Resource"]))
            found += [Allowance(statement["Sid"], action, resources) for action in as_list(statement["Action"])]
    return found


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def starting(task: str) -> Iterator[Need]:
    """Yield what ECS needs to start a task of service.yaml: images, log streams, secrets."""
    yield Need("ecr:GetAuthorizationToken", "*")
    for whole in SERVICE[task]["Properties"]["ContainerDefinitions"]:
        container = resolved({name: whole.get(name, []) for name in ("Image", "LogConfiguration", "Secrets")})
        repository = re.fullmatch(r"(\d+)\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/(.+)@.*", container["Image"])
        assert repository
        for action in ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer"):
            account, region, name = repository.groups()
            yield Need(f"ecr:{action}", f"arn:aws:ecr:{region}:{account}:repository/{name}")
        group = container["LogConfiguration"]["Options"]["awslogs-group"]
        for action in ("CreateLogStream", "PutLogEvents"):
            yield Need(f"logs:{action}", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:log-stream:x/y/z")
        for secret in container["Secrets"]:
            yield Need("secretsmanager:GetSecretValue", ":".join(secret["ValueFrom"].split(":")[:7]))


_PLAIN = {
    "HeadBucket": "ListBucket",
    "GetBucketVersioning": "GetBucketVersioning",
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
    """Yield what IAM requires for one call, by the Service Authorization Reference."""
    match service:
        case "sqs" if operation == "StartMessageMoveTask":
            for action in ("StartMessageMoveTask", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
                yield Need(f"sqs:{action}", str(params["SourceArn"]))
            yield Need("sqs:SendMessage", str(params["DestinationArn"]))
        case "sqs":
            name = str(params["QueueUrl"]).rsplit("/", 1)[-1]
            action = _BATCHES.get(operation, operation)
            yield Need(f"sqs:{action}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
        case "events":
            yield Need(f"events:{operation}", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{params['EventBusName']}")
        case "mediaconvert":
            kind = "jobs/x" if operation in {"GetJob", "CancelJob"} else "queues/Default"
            yield Need(f"mediaconvert:{operation}", f"arn:aws:mediaconvert:{REGION}:{ACCOUNT}:{kind}")
            if operation == "CreateJob":
                yield Need("iam:PassRole", str(params["Role"]))
        case _:
            yield from _of_s3(operation, params)


def of_job(params: Mapping[str, Any]) -> Iterator[Need]:
    """Yield what MediaConvert needs for a job: to read its inputs, and to write below its destinations."""
    for action, urls in (("s3:GetObject", params["FileInputs"]), ("s3:PutObject", params["Destinations"])):
        for url in urls:
            yield Need(action, f"arn:aws:s3:::{url.removeprefix('s3://')}")


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
        raise AssertionError(f"the action of {operation} is not known here")
