"""A bucket of the platform is adopted as the runbook says: nothing of it is replaced, and what is missing is told."""

import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deploy.bucket import main, run
from deploy.local.emulator import ACCOUNT, REGION
from deploy.local.rehearsal.templates import template
from tests.conftest import EmulatedAws
from tests.integration.operate.conftest import ROOT
from tests.integration.operate.documentation import run_command

CORS = {"AllowedOrigins": ["https://platform.example"], "AllowedMethods": ["GET"]}
LIFECYCLE = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "avatars/"}, "Expiration": {"Days": 9}}


@pytest.fixture
async def bucket(clients: Any) -> str:
    """Return the name of a bucket that has documents already."""
    s3, name = await clients("s3"), f"platform-{uuid4().hex[:8]}"
    await s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    theirs = {"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/platform"}}
    theirs |= {"Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/avatars/*"}
    policy = {"Version": "2012-10-17", "Statement": [theirs]}
    await s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
    await s3.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": [CORS]})
    await s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [LIFECYCLE]})
    return name


async def documents(s3: Any, bucket: str) -> dict[str, Any]:
    notification = await s3.get_bucket_notification_configuration(Bucket=bucket)
    notification.pop("ResponseMetadata")
    return {
        "put-bucket-policy": json.loads((await s3.get_bucket_policy(Bucket=bucket))["Policy"]),
        "put-bucket-notification-configuration": notification,
        "put-bucket-cors": {"CORSRules": (await s3.get_bucket_cors(Bucket=bucket))["CORSRules"]},
        "put-bucket-lifecycle-configuration": {
            "Rules": (await s3.get_bucket_lifecycle_configuration(Bucket=bucket))["Rules"]
        },
    }


def merged(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Merge as a person does: their rules stay, ours come after them."""
    lists = {key: [*theirs.get(key, []), *part] for key, part in ours.items() if isinstance(part, list)}
    return {**ours, **theirs, **lists}


async def test_platforms_bucket_is_adopted(emulator: EmulatedAws, clients: Any, bucket: str, tmp_path: Path) -> None:
    environment, s3 = f"t{uuid4().hex[:8]}", await clients("s3")
    given = {"Environment": environment, "ExistingBucketName": bucket, "CorsOrigins": "https://app.example"}
    given["RequireTls"] = "false"
    file = tmp_path / "parameters.json"
    file.write_text(json.dumps([f"{key}={value}" for key, value in given.items()]))
    command = (sys.executable, "-m", "deploy.bucket")
    env = dict(emulator.client_env)

    async def command_line(name: str, status: int = 0) -> str:
        return await run_command(*command, name, str(file), cwd=ROOT, env=env, status=status)

    before = await documents(s3, bucket)
    cloudformation = await clients("cloudformation")
    await cloudformation.create_stack(
        StackName=environment,
        TemplateBody=json.dumps(template("media")),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
    await cloudformation.get_waiter("stack_create_complete").wait(StackName=environment, WaiterConfig={"Delay": 1})
    assert await documents(s3, bucket) == before

    told = await command_line("check", status=1)
    assert "versioning is not enabled" in told
    assert told.count("put-bucket-policy") == 2
    assert told.count("put-bucket-lifecycle-configuration") == 4
    assert told.count("put-bucket-cors") == told.count("put-bucket-notification-configuration") == 1

    shown = re.split(r"(?m)^# aws s3api (\S+) --bucket \S+$", await command_line("show"))[1:]
    ours = dict(zip(shown[::2], map(json.loads, shown[1::2]), strict=True))
    after = {name: merged(before[name], document) for name, document in ours.items()}
    await s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    await s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(after["put-bucket-policy"]))
    await s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=after["put-bucket-cors"])
    notification = after["put-bucket-notification-configuration"]
    await s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=notification)
    lifecycle = after["put-bucket-lifecycle-configuration"]
    await s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=lifecycle)
    assert "has all that the service needs" in await command_line("check")

    # What was there is there still, and an upload is announced.
    kept = await documents(s3, bucket)
    assert before["put-bucket-policy"]["Statement"][0] in kept["put-bucket-policy"]["Statement"]
    assert CORS["AllowedOrigins"] in [rule["AllowedOrigins"] for rule in kept["put-bucket-cors"]["CORSRules"]]
    assert "theirs" in [rule["ID"] for rule in kept["put-bucket-lifecycle-configuration"]["Rules"]]
    await s3.put_object(Bucket=bucket, Key="uploads/x", Body=b"x")
    outputs = (await cloudformation.describe_stacks(StackName=environment))["Stacks"][0]["Outputs"]
    [queue] = [output["OutputValue"] for output in outputs if output["OutputKey"] == "UploadsQueueUrl"]
    sqs = await clients("sqs")
    messages = (await sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10))["Messages"]
    assert bucket in messages[0]["Body"]


async def test_weakened_rule_is_missed(emulator: EmulatedAws, clients: Any, bucket: str, tmp_path: Path) -> None:
    file = tmp_path / "parameters.json"
    file.write_text(json.dumps(["Environment=x", f"ExistingBucketName={bucket}", "CorsOrigins=https://app.example"]))
    show = (sys.executable, "-m", "deploy.bucket", "show", str(file))
    env = dict(emulator.client_env)
    shown = re.split(r"(?m)^# aws s3api (\S+) .*$", await run_command(*show, cwd=ROOT, env=env))
    policy = json.loads(shown[2])
    [deny] = [statement for statement in policy["Statement"] if statement["Sid"] == "NoCleanVerdictNoByte"]
    deny["Condition"]["ArnNotEquals"]["aws:PrincipalArn"].append(f"arn:aws:iam::{ACCOUNT}:role/anybody")
    await (await clients("s3")).put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    told = await check(bucket)
    assert [line for line in told.splitlines() if "put-bucket-policy" in line and "NoCleanVerdictNoByte" in line]


async def test_refusal_of_uploads_without_a_precondition_is_told(clients: Any, bucket: str) -> None:
    statement = {
        "Sid": "NoOverwriteOfUploads",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/uploads/*",
        "Condition": {"Null": {"s3:if-none-match": "true"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    await (await clients("s3")).put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    told = await check(bucket)
    assert "uploads need If-None-Match by" in told


EVERYBODY = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::BUCKET/*"}


@pytest.mark.parametrize(
    ("change", "opened"),
    [
        ({}, ["uploads/", "processed/", "private/"]),
        ({"Principal": {"AWS": "*"}, "Action": ["s3:Get*"], "Resource": ["arn:aws:s3:::BUCKET/pr*"]}, 2),
        ({"Action": "*", "Condition": {"StringLike": {"aws:Referer": "https://app.example/*"}}}, 3),
        ({"Resource": "arn:aws:s3:::BUCKET/private/documents/*"}, ["private/"]),
        ({"Resource": ["arn:aws:s3:::BUCKET/avatars/*", "arn:aws:s3:::BUCKET/public/*"]}, []),
        ({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/platform"}}, []),
        ({"Action": "s3:ListBucket"}, []),
        ({"Effect": "Deny"}, []),
    ],
)
async def test_statement_that_opens_our_objects_to_everybody_is_told(
    clients: Any, bucket: str, change: dict[str, Any], opened: list[str] | int
) -> None:
    policy = json.dumps({"Version": "2012-10-17", "Statement": [EVERYBODY | change]}).replace("BUCKET", bucket)
    s3 = await clients("s3")
    await s3.delete_public_access_block(Bucket=bucket)
    await s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    told = re.findall(r"everybody may read (\S+) by", await check(bucket))
    assert (len(told) if isinstance(opened, int) else told) == opened


@pytest.mark.parametrize(
    ("change", "hit"),
    [
        ({"Filter": {"Prefix": ""}}, "uploads/, public/, processed/, private/"),
        ({"Filter": {"And": {"Prefix": "processed/video/", "ObjectSizeGreaterThan": 9}}}, "processed/"),
        ({"Filter": {"Prefix": "p"}, "Expiration": {"ExpiredObjectDeleteMarker": True}}, ""),
        ({"Filter": {"Prefix": ""}, "Status": "Disabled"}, ""),
        ({}, ""),
    ],
)
async def test_lifecycle_of_others_that_deletes_our_objects_is_told(
    clients: Any, bucket: str, change: dict[str, Any], hit: str
) -> None:
    rules = {"Rules": [LIFECYCLE | change]}
    await (await clients("s3")).put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    told = re.findall(r"configuration: (.+) would be deleted by", await check(bucket))
    assert told == ([hit] if hit else [])


async def check(bucket: str) -> str:
    """Return what `check` tells of a bucket that lacks our rules, in this process."""
    parameters = {"Environment": "x", "ExistingBucketName": bucket, "CorsOrigins": "https://app.example"}
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert await run("check", parameters) == 1
    return told.getvalue()


@pytest.mark.parametrize("text", ["{}", "[]", '["Environment=x"]', '["a"]', "["])
def test_wrong_parameters_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    file = tmp_path / "parameters.json"
    file.write_text(text)
    assert main(["check", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"{file}: ")
