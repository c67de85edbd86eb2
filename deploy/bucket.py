"""Help to adopt a bucket of the platform: `python -m deploy.bucket show|check PARAMETERS.json`.

`show` prints what to merge into the policy, the notification, the CORS rules and the lifecycle of `ExistingBucketName`,
each as S3's API takes it. `check` asks S3 and tells what is missing, and which rule of somebody else opens or deletes
our objects. Nothing is changed. The rules are those of media.yaml. Exit status: 0 all is well, 1 something is missing
or against us, 2 wrong usage or parameters, or S3 refuses.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from deploy.rendering import Deployment

PREFIXES = ("uploads/", "public/", "processed/", "private/")
"""Where the service reads and writes. Everything else in the bucket is somebody else's."""
_NOT_FOR_EVERYBODY = tuple(prefix for prefix in PREFIXES if prefix != "public/")
_READS = ("s3:getobject", "s3:getobjectversion")
_LIFECYCLE = "put-bucket-lifecycle-configuration"
_NONE_YET = {
    "NoSuchBucketPolicy",
    "NoSuchCORSConfiguration",
    "NoSuchLifecycleConfiguration",
}
type Document = dict[str, Any]


class Bucket:
    """An existing bucket, and what media.yaml would give to a bucket of its own."""

    def __init__(self, name: str, parameters: Mapping[str, str], account: str, region: str) -> None:
        self.name = name
        # As if the template made a bucket of this name.
        as_own = {**parameters, "BucketName": self.name, "ExistingBucketName": ""}
        self._rules = Deployment(as_own, account, region)

    def documents(self) -> dict[str, Document]:
        """Return what to merge into each document, by the name of S3's call that takes it."""
        queue = self._rules.arn("UploadsQueue")
        cors = [
            {
                "ID": rule["Id"],
                "AllowedOrigins": rule["AllowedOrigins"],
                "AllowedMethods": rule["AllowedMethods"],
                "AllowedHeaders": rule["AllowedHeaders"],
                "ExposeHeaders": rule["ExposedHeaders"],
                "MaxAgeSeconds": rule["MaxAge"],
            }
            for rule in self._rules.at("MediaBucket/CorsConfiguration/CorsRules")
        ]
        upload = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "uploads/"}]}}
        return {
            "put-bucket-policy": self._rules.at("MediaBucketPolicy/PolicyDocument"),
            "put-bucket-notification-configuration": {
                "QueueConfigurations": [{"QueueArn": queue, "Events": ["s3:ObjectCreated:*"], "Filter": upload}]
            },
            "put-bucket-cors": {"CORSRules": cors},
            _LIFECYCLE: {"Rules": [self._lifecycle(prefix) for prefix in PREFIXES]},
        }

    def _lifecycle(self, prefix: str) -> Document:
        """Return media.yaml's rules for one prefix: those of the whole bucket would delete somebody else's versions."""
        rules = "MediaBucket/LifecycleConfiguration/Rules"
        days = self._rules.at(f"{rules}/old-versions/NoncurrentVersionExpiration/NoncurrentDays")
        abort = self._rules.at(f"{rules}/incomplete-uploads/AbortIncompleteMultipartUpload")
        return {
            "ID": f"media-{prefix.rstrip('/')}",
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "NoncurrentVersionExpiration": {"NoncurrentDays": int(days)},
            "AbortIncompleteMultipartUpload": abort,
        }

    async def missing(self, s3: Any) -> list[str]:
        """Return what the bucket lacks, and what in it is against us, a line each."""
        wanted, lines = self.documents(), []
        versioning = await s3.get_bucket_versioning(Bucket=self.name)
        if versioning.get("Status") != "Enabled":
            lines.append("versioning is not enabled: verdicts and tags belong to a version")
        policy = json.loads((await _read(s3.get_bucket_policy, self.name)).get("Policy", "{}"))
        readers = {
            "put-bucket-notification-configuration": s3.get_bucket_notification_configuration,
            "put-bucket-cors": s3.get_bucket_cors,
            _LIFECYCLE: s3.get_bucket_lifecycle_configuration,
        }
        there = {"put-bucket-policy": policy, **{name: await _read(read, self.name) for name, read in readers.items()}}
        for name, document in wanted.items():
            key, rules = next((key, part) for key, part in document.items() if isinstance(part, list))
            found = [_plain(rule) for rule in there[name].get(key, [])]
            lines += [f"{name}: no rule like {json.dumps(rule)}" for rule in rules if _plain(rule) not in found]
        lines += [f"put-bucket-policy: everybody may read {what}" for what in self._open_to_everybody(policy)]
        lines += [f"put-bucket-policy: uploads need If-None-Match by {what}" for what in _conditional_puts(policy)]
        lines += [f"{_LIFECYCLE}: {line}" for line in _expired(there[_LIFECYCLE], wanted[_LIFECYCLE])]
        return lines

    def _open_to_everybody(self, policy: Document) -> Iterator[str]:
        """Yield those of our prefixes whose objects a statement lets everybody read, whatever its condition."""
        for statement in _as_list(policy.get("Statement")):
            principal = statement.get("Principal", {})
            named = _as_list(principal.get("AWS") if isinstance(principal, dict) else principal)
            actions = [action.lower() for action in _as_list(statement.get("Action"))]
            reads = "NotAction" in statement or any(fnmatchcase(one, action) for one in _READS for action in actions)
            if statement["Effect"] == "Allow" and "*" in named and reads:
                for prefix in _NOT_FOR_EVERYBODY:
                    place = f"arn:aws:s3:::{self.name}/{prefix}"
                    if any(_overlap(pattern, place) for pattern in _as_list(statement.get("Resource"))):
                        yield f"{prefix} by {json.dumps(statement)}"


def _conditional_puts(policy: Document) -> Iterator[str]:
    """Yield the statements that refuse an upload without a precondition: clients may send Content-Type alone."""
    for statement in _as_list(policy.get("Statement")):
        keys = {key.lower() for condition in statement.get("Condition", {}).values() for key in condition}
        if statement["Effect"] == "Deny" and "s3:if-none-match" in keys:
            yield json.dumps(statement)


def _expired(there: Document, wanted: Document) -> Iterator[str]:
    """Yield the rules of somebody else that delete our objects."""
    ours = [_plain(rule) for rule in wanted["Rules"]]
    for rule in there.get("Rules", []):
        prefix = (found := rule.get("Filter", rule)).get("And", found).get("Prefix", "")
        deletes = {"Days", "Date"} & rule.get("Expiration", {}).keys() or "NoncurrentVersionExpiration" in rule
        hit = [each for each in PREFIXES if _overlap(f"{prefix}*", each)]
        if hit and deletes and rule["Status"] == "Enabled" and _plain(rule) not in ours:
            yield f"{', '.join(hit)} would be deleted by {json.dumps(rule, default=str)}"


def _overlap(pattern: str, prefix: str) -> bool:
    """Say whether a pattern fits keys below a prefix."""
    fixed = pattern.partition("*")[0].partition("?")[0]
    return fixed.startswith(prefix) or (fixed != pattern and prefix.startswith(fixed))


def _as_list(node: Any) -> list[Any]:
    return node if isinstance(node, list) else [] if node is None else [node]


async def _read(call: Callable[..., Any], bucket: str) -> Document:
    try:
        found: Document = await call(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in _NONE_YET:
            return {}
        raise
    return found


def _plain(node: Any) -> Any:
    """Return a form in which rules that mean the same are equal: AWS reorders lists and unpacks single values.

    The label of a rule is anybody's choice.
    """
    if isinstance(node, dict):
        return {key: _plain(part) for key, part in sorted(node.items()) if key not in {"Sid", "ID", "Id"}}
    if isinstance(node, list):
        parts = sorted((_plain(part) for part in node), key=str)
        return parts[0] if len(parts) == 1 else parts
    return str(node).lower() if isinstance(node, bool | int) else node


async def run(command: str, parameters: Mapping[str, str]) -> int:
    """Carry out a command with the AWS account that the environment is signed in to."""
    name = parameters["ExistingBucketName"]
    session = get_session()
    async with session.create_client("sts") as sts, session.create_client("s3") as s3:
        account = (await sts.get_caller_identity())["Account"]
        bucket = Bucket(name, parameters, account, s3.meta.region_name)
        if command == "show":
            for call, document in bucket.documents().items():
                sys.stdout.write(f"# aws s3api {call} --bucket {bucket.name}\n{json.dumps(document, indent=2)}\n")
            return 0
        lines = await bucket.missing(s3)
    sys.stdout.write("".join(f"{line}\n" for line in lines) or f"{bucket.name} has all that the service needs\n")
    return 1 if lines else 0


def main(arguments: list[str]) -> int:
    """Print or check; returns the exit status."""
    if len(arguments) != 2 or arguments[0] not in {"show", "check"}:  # noqa: PLR2004 - a command and a file
        sys.stderr.write("usage: python -m deploy.bucket show|check PARAMETERS.json\n")
        return 2
    try:
        parameters = dict(entry.split("=", 1) for entry in json.loads(Path(arguments[1]).read_text()))
        return asyncio.run(run(arguments[0], parameters))
    except KeyError as error:
        sys.stderr.write(f"{arguments[1]}: {error} is missing\n")
        return 2
    except (OSError, ValueError, ClientError, BotoCoreError) as error:
        sys.stderr.write(f"{arguments[1]}: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
