"""Who may do what to the bucket and the queues, by their own policies and by who may assume a role."""

import subprocess
import sys
from typing import Any

import pytest

from deploy.local.emulator import ACCOUNT, REGION
from deploy.local.rehearsal.templates import template
from deploy.local.topology import ENVIRONMENT
from media.settings import QUEUES
from tests.integration.operate.iam_policies import (
    DISTRIBUTION,
    MEDIA,
    ROLES,
    SERVICE,
    Need,
    allowances,
    resolved,
    starting,
)
from tests.integration.operate.resource_policies import Call, allowed, denied, of_role, policy

BUCKET = f"arn:aws:s3:::{ENVIRONMENT}-docfliq-media-{ACCOUNT}"
UPLOAD = f"{BUCKET}/uploads/image/dr-house/a/x.jpg"
CLEAN = {"s3:ExistingObjectTag/scan-status": "CLEAN"}
INFECTED = {"s3:ExistingObjectTag/scan-status": "INFECTED"}
PLAIN = {"aws:SecureTransport": "false"}


def queue(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{ENVIRONMENT}-media-{name}"


@pytest.mark.parametrize(
    ("call", "refused_by"),
    [
        (Call("s3:GetObject", UPLOAD, of_role("api")), ["NoCleanVerdictNoByte"]),
        (Call("s3:GetObject", UPLOAD, of_role("api"), context=INFECTED), ["NoCleanVerdictNoByte"]),
        (Call("s3:GetObjectVersion", UPLOAD, f"arn:aws:iam::{ACCOUNT}:root"), ["NoCleanVerdictNoByte"]),
        (Call("s3:GetObject", UPLOAD, "arn:aws:iam::1:role/other-media-consumer"), ["NoCleanVerdictNoByte"]),
        (Call("s3:GetObject", UPLOAD, of_role("api"), context=CLEAN), []),
        (Call("s3:GetObjectVersion", UPLOAD, of_role("consumer")), []),
        (Call("s3:GetObject", UPLOAD, of_role("mediaconvert")), []),
        # The platform's clients PUT without a precondition.
        (Call("s3:PutObject", UPLOAD, of_role("api"), context={"s3:ObjectCreationOperation": "true"}), []),
        (Call("s3:PutObjectVersionTagging", UPLOAD, of_role("api")), ["OnlyTheConsumerTags"]),
        (Call("s3:DeleteObjectTagging", UPLOAD, of_role("mediaconvert")), ["OnlyTheConsumerTags"]),
        (Call("s3:PutObjectVersionTagging", UPLOAD, of_role("consumer")), []),
        (Call("s3:ListBucket", BUCKET, of_role("consumer"), context=PLAIN), ["TlsOnly"]),
        (Call("s3:GetObject", f"{BUCKET}/public/x", of_role("api"), context=PLAIN), ["TlsOnly"]),
    ],
)
def test_bucket_refuses_calls(call: Call, refused_by: list[str]) -> None:
    assert denied(policy("MediaBucketPolicy"), call) == refused_by


@pytest.mark.parametrize(
    ("key", "distribution", "may"),
    [
        ("public/x", DISTRIBUTION, True),
        ("processed/x", DISTRIBUTION, True),
        ("private/x", DISTRIBUTION, False),
        ("uploads/x", DISTRIBUTION, False),
        ("public/x", DISTRIBUTION.replace("ABC", "XYZ"), False),
    ],
)
def test_cloudfront_reads_public_and_processed_only(key: str, distribution: str, may: bool) -> None:
    source = {"aws:SourceArn": distribution}
    call = Call("s3:GetObject", f"{BUCKET}/{key}", service="cloudfront.amazonaws.com", context=source)
    assert allowed(policy("MediaBucketPolicy"), call) is may
    put = Call("s3:PutObject", f"{BUCKET}/{key}", service="cloudfront.amazonaws.com", context=source)
    assert not allowed(policy("MediaBucketPolicy"), put)


def test_quarantine_requires_tls() -> None:
    held = f"arn:aws:s3:::{ENVIRONMENT}-docfliq-media-quarantine-{ACCOUNT}/x"
    call = Call("s3:GetObject", held, of_role("consumer"), context=PLAIN)
    assert denied(policy("QuarantineBucketPolicy"), call) == ["TlsOnly"]


@pytest.fixture(scope="module")
def policies_of_queues() -> dict[str, str]:
    """The policy of each queue. A second policy of a queue would replace the first."""
    found: dict[str, str] = {}
    for name, part in MEDIA.items():
        if part["Type"] == "AWS::SQS::QueuePolicy":
            for url in resolved(part["Properties"]["Queues"]):
                assert url not in found
                found[url.removeprefix(f"{ENVIRONMENT}-media-")] = name
    return found


@pytest.mark.parametrize("name", [*QUEUES, *(f"{queue}-dlq" for queue in QUEUES)])
def test_every_queue_requires_tls(policies_of_queues: dict[str, str], name: str) -> None:
    statements = policy(policies_of_queues[name])
    for action in ("sqs:SendMessage", "sqs:ReceiveMessage", "sqs:StartMessageMoveTask"):
        call = Call(action, queue(name), of_role("consumer"))
        assert denied(statements, call) == []
        assert denied(statements, Call(action, queue(name), of_role("consumer"), context=PLAIN)) == ["TlsOnly"]


RULE = {"aws:SourceArn": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{ENVIRONMENT}-media-transcode-events"}
OTHER_RULE = {"aws:SourceArn": RULE["aws:SourceArn"].replace(ENVIRONMENT, "other")}
OURS = {"aws:SourceArn": BUCKET, "aws:SourceAccount": ACCOUNT}


@pytest.mark.parametrize(
    ("name", "service", "context", "may"),
    [
        ("uploads", "s3", OURS, True),
        ("uploads", "s3", OURS | {"aws:SourceAccount": "111111111111"}, False),
        ("uploads", "s3", OURS | {"aws:SourceArn": "arn:aws:s3:::another"}, False),
        ("uploads", "events", RULE, False),
        ("images", "s3", OURS, False),
        ("transcode-events", "events", RULE, True),
        ("transcode-events", "events", OTHER_RULE, False),
        ("transcode-events-dlq", "events", RULE, True),
        ("transcode-events-dlq", "events", OTHER_RULE, False),
        ("recordings", "events", RULE, False),
    ],
)
def test_aws_services_may_send_to_their_queues_only(
    policies_of_queues: dict[str, str], name: str, service: str, context: dict[str, str], may: bool
) -> None:
    call = Call("sqs:SendMessage", queue(name), service=f"{service}.amazonaws.com", context=context)
    assert allowed(policy(policies_of_queues[name]), call) is may
    receive = Call("sqs:ReceiveMessage", queue(name), service=f"{service}.amazonaws.com", context=context)
    assert not allowed(policy(policies_of_queues[name]), receive)


def test_undelivered_events_go_to_a_dead_letter_queue() -> None:
    [target] = resolved(MEDIA["TranscodeEventsRule"]["Properties"]["Targets"])
    assert target["DeadLetterConfig"] == {"Arn": queue("transcode-events-dlq")}
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}


def test_resources_with_data_outlive_their_stack() -> None:
    for name, part in MEDIA.items():
        is_ours = part.get("Condition") != "WithEventsQueue"  # the embedded stack's alone
        if is_ours and part["Type"] in {"AWS::S3::Bucket", "AWS::SQS::Queue"}:
            assert (part.get("DeletionPolicy"), part.get("UpdateReplacePolicy")) == (
                "RetainExceptOnCreate",
                "Retain",
            ), name


def roles() -> dict[str, Any]:
    return {name: part["Properties"] for name, part in ROLES.items() if part["Type"] == "AWS::IAM::Role"}


@pytest.mark.parametrize("name", roles())
def test_a_role_is_assumed_for_this_account_only(name: str) -> None:
    [statement] = resolved(roles()[name]["AssumeRolePolicyDocument"])["Statement"]
    condition = statement["Condition"]
    assert condition["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
    by_mediaconvert = {"ArnEquals": {"aws:SourceArn": f"arn:aws:mediaconvert:{REGION}:{ACCOUNT}:queues/Default"}}
    by_ecs = {"ArnLike": {"aws:SourceArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:*"}}
    assert condition.items() >= (by_mediaconvert if name == "MediaConvertRole" else by_ecs).items()


@pytest.mark.parametrize("task", ["Consumer", "Api", "Operator"])
def test_a_task_is_started_by_a_role_that_reads_its_own_secrets_and_nothing_more(task: str) -> None:
    properties = SERVICE[f"{task}Task"]["Properties"]
    name = f"${{Environment}}-media-{task.lower()}-execution-role"
    assert properties["ExecutionRoleArn"] == {"Fn::ImportValue": {"Fn::Sub": name}}
    assert template("roles")["Outputs"][f"{task}ExecutionRoleArn"]["Export"]["Name"] == {"Fn::Sub": name}
    role, needed = roles()[f"{task}ExecutionRole"], set(starting(f"{task}Task"))
    assert "ManagedPolicyArns" not in role
    granted = allowances(f"{task}ExecutionRole")
    assert not {need for need in needed if not any(one.covers(need) for one in granted)}
    for one in granted:
        for resource in one.resources:
            assert any(Need(one.action, resource) == need or one.covers(need) for need in needed), (
                one.action,
                resource,
            )
    secrets = {resource for one in granted for resource in one.resources if ":secret:" in resource}
    assert secrets == {need.resource for need in needed if ":secret:" in need.resource}


def test_consumer_may_protect_itself_and_abort_uploads() -> None:
    """With either engine: what MediaConvert does not read, ffmpeg makes."""
    granted = allowances("ConsumerRole")
    assert ("GiveUpFilms", "s3:AbortMultipartUpload") in {(one.statement, one.action) for one in granted}
    [spared] = [one for one in granted if one.statement == "ProtectFromScaleIn"]
    cluster = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{ENVIRONMENT}-media"
    assert spared.covers(Need(spared.action, f"{cluster}/0123456789abcdef"))
    assert not spared.covers(Need(spared.action, f"{cluster}-other/0123456789abcdef"))


def test_schema_command_loads_no_aws_client() -> None:
    loaded = "import sys, media.schema.apply; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True, timeout=60)
    assert not {"boto3", "botocore", "aiobotocore", "aiohttp"} & set(ended.stdout.split())
