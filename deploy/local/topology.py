"""The buckets, queues and rules in the emulator, created from production's CloudFormation template."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from types_aiobotocore_cloudformation import CloudFormationClient
from types_aiobotocore_cloudformation.type_defs import ParameterTypeDef
from types_aiobotocore_s3 import S3Client

from deploy.local.child import PartError
from deploy.local.emulator import ACCESS_KEY, REGION, SECRET_KEY
from media.settings import QUEUES

TEMPLATE = Path(__file__).parents[1] / "cloudformation" / "media.yaml"
ENVIRONMENT = "local"
STACK = "docfliq-media"
RECORDINGS_BUCKET = f"{ENVIRONMENT}-docfliq-webinars"
APPLY_DEADLINE = 30.0
"""Seconds for CloudFormation to apply the template."""
POLL_PAUSE = 0.05
DIGEST_TAG = "digest"
"""A tag of the stack with the digest of its template and parameters."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The names of buckets and bus, and the URLs of queues, that the services need."""

    output_bucket: str
    quarantine_bucket: str
    recordings_bucket: str
    queue_urls: Mapping[str, str]
    event_bus: str


@contextlib.asynccontextmanager
async def _clients(url: str) -> AsyncIterator[tuple[CloudFormationClient, S3Client]]:
    config = AioConfig(retries={"total_max_attempts": 2}, read_timeout=APPLY_DEADLINE, s3={"addressing_style": "path"})
    session = get_session()
    session.set_credentials(ACCESS_KEY, SECRET_KEY)
    async with AsyncExitStack() as stack:
        cloudformation = session.create_client("cloudformation", endpoint_url=url, region_name=REGION, config=config)
        s3 = session.create_client("s3", endpoint_url=url, region_name=REGION, config=config)
        yield await stack.enter_async_context(cloudformation), await stack.enter_async_context(s3)


async def apply(url: str, cors_origins: Sequence[str]) -> Topology:
    """Create or update the stack in the emulator at `url`, and the webinar service's bucket.

    Raises PartError when CloudFormation does not reach a complete state within 30 s.
    """
    body = TEMPLATE.read_text()
    parameters: list[ParameterTypeDef] = [
        {"ParameterKey": "Environment", "ParameterValue": ENVIRONMENT},
        {"ParameterKey": "CorsOrigins", "ParameterValue": ",".join(cors_origins)},
        {"ParameterKey": "RequireTls", "ParameterValue": "false"},
        {"ParameterKey": "EventsQueue", "ParameterValue": "true"},
    ]
    digest = hashlib.sha256((body + json.dumps(parameters)).encode()).hexdigest()
    async with _clients(url) as (cloudformation, s3):
        if await _applied_digest(cloudformation) != digest:
            await _create_or_update(cloudformation, body, parameters, digest)
        stack = (await cloudformation.describe_stacks(StackName=STACK))["Stacks"][0]
        await _create_bucket(s3, RECORDINGS_BUCKET)
    outputs = {output.get("OutputKey", ""): output.get("OutputValue", "") for output in stack.get("Outputs", [])}
    keys = {queue: "".join(part.capitalize() for part in queue.split("-")) + "QueueUrl" for queue in QUEUES}
    queue_urls = {queue: _with_current_port(url, outputs[key]) for queue, key in keys.items()}
    return Topology(
        output_bucket=outputs["OutputBucket"],
        quarantine_bucket=outputs["QuarantineBucketName"],
        recordings_bucket=RECORDINGS_BUCKET,
        queue_urls=queue_urls,
        event_bus=outputs["EventBusName"],
    )


async def _applied_digest(cloudformation: CloudFormationClient) -> str | None:
    """Return the digest of the current template and parameters; "" if it has none or failed, None without a stack."""
    try:
        answer = await cloudformation.describe_stacks(StackName=STACK)
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    found = answer["Stacks"][0]
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
    return tags.get(DIGEST_TAG, "") if found["StackStatus"].endswith("_COMPLETE") else ""


async def _create_or_update(
    cloudformation: CloudFormationClient, body: str, parameters: list[ParameterTypeDef], digest: str
) -> None:
    exists = await _applied_digest(cloudformation) is not None
    request = cloudformation.update_stack if exists else cloudformation.create_stack
    await request(
        StackName=STACK, TemplateBody=body, Parameters=parameters, Tags=[{"Key": DIGEST_TAG, "Value": digest}]
    )
    try:
        async with asyncio.timeout(APPLY_DEADLINE):
            status = await _wait_until_complete(cloudformation)
    except TimeoutError as error:
        raise PartError(f"the template was not applied within {APPLY_DEADLINE:.0f} s") from error
    if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        raise PartError(f"the template could not be applied ({status}):\n{await _failure_reasons(cloudformation)}")


async def _wait_until_complete(cloudformation: CloudFormationClient) -> str:
    """Wait until the stack is no longer in progress; return its status."""
    while True:
        status = (await cloudformation.describe_stacks(StackName=STACK))["Stacks"][0]["StackStatus"]
        if not status.endswith("_IN_PROGRESS"):
            return status
        await asyncio.sleep(POLL_PAUSE)


async def _failure_reasons(cloudformation: CloudFormationClient) -> str:
    events = (await cloudformation.describe_stack_events(StackName=STACK))["StackEvents"]
    failed = [event for event in events if event.get("ResourceStatus", "").endswith("_FAILED")]
    return "\n".join(
        f"  {event.get('LogicalResourceId', '')}: {event.get('ResourceStatusReason', '')}" for event in failed
    )


async def _create_bucket(s3: S3Client, name: str) -> None:
    try:
        await s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
        return
    await s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})


def _with_current_port(url: str, queue_url: str) -> str:
    """Return the queue's URL with the emulator's current port; saved outputs have the port of their creation."""
    return urlunsplit((*urlsplit(url)[:2], urlsplit(queue_url).path, "", ""))
