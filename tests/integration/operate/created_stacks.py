"""Every template's stack, created in an emulator with invented parameters."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from deploy.local.child import PartError
from deploy.local.emulator import ACCESS_KEY, REGION, SECRET_KEY
from deploy.local.rehearsal.templates import PARTS, template

DEADLINE = 60.0
"""Seconds for CloudFormation to create or to delete the stacks."""
PAUSE = 0.05
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"
PARAMETERS: Mapping[str, str] = {
    "ServiceImage": "registry.example/media@sha256:" + "0" * 64,
    "ScannerImage": "registry.example/scanner@sha256:" + "0" * 64,
    "CertificateArn": f"arn:aws:acm:{REGION}:000000000000:certificate/x",
    "DatabaseSecretArn": f"arn:aws:secretsmanager:{REGION}:000000000000:secret:media-database-abcdef",
    "ApiSecretArn": f"arn:aws:secretsmanager:{REGION}:000000000000:secret:media-api-abcdef",
    "JwksUrl": "https://identity.example/jwks.json",
    "JwtIssuer": "https://identity.example",
    "JwtAudience": "media",
    "CorsOrigins": "https://docfliq.example",
    "PublicUrl": "https://media-api.docfliq.example",
    "RequireTls": "false",
    "DeletionProtection": "false",
    "RecordingsBucket": "webinars",
    "CloudFrontPublicKey": PUBLIC_KEY,
    "CloudFrontAlias": "media.docfliq.example",
    "CloudFrontCertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/y",
    "CloudFrontLogBucket": "logs",
    "CloudFrontDomain": "media.docfliq.example",
    "SharedRateLimits": "true",
    "Transcoder": "ffmpeg",
}
"""Invented values of the right format; the emulator does not check them."""


@dataclass(frozen=True, slots=True)
class CreatedStacks:
    """The created stacks: their outputs, and the number of resources of each type."""

    outputs: Mapping[str, str]
    resources: Mapping[str, int]


async def create_stacks(
    url: str, environment: str, overrides: Mapping[str, str] = MappingProxyType({})
) -> CreatedStacks:
    """Create the stacks of all templates in the emulator at `url`; delete existing ones first.

    `overrides` are parameters in addition to PARAMETERS, or instead of them.

    Keeps the stack of media.yaml where there is one, since buckets and queues outlive theirs. Raises PartError when
    CloudFormation does not reach a complete state within a minute.
    """
    session = get_session()
    session.set_credentials(ACCESS_KEY, SECRET_KEY)
    async with AsyncExitStack() as stack:
        clients = [session.create_client(n, endpoint_url=url, region_name=REGION) for n in ("cloudformation", "ec2")]
        cloudformation, ec2 = [await stack.enter_async_context(client) for client in clients]
        parts = PARTS[1:] if await _status(cloudformation, f"docfliq-{environment}-media") else PARTS
        outputs: dict[str, str] = {}
        resources: Counter[str] = Counter()
        try:
            async with asyncio.timeout(DEADLINE):
                for part in reversed(parts):
                    await _delete(cloudformation, f"docfliq-{environment}-{part}")
                parameters = {**await _parameters(ec2, environment), **overrides}
                for part in parts:
                    created = await _create(cloudformation, f"docfliq-{environment}-{part}", part, parameters)
                    outputs |= created.outputs
                    resources.update(created.resources)
        except TimeoutError as error:
            raise PartError(f"CloudFormation has not finished within {DEADLINE:.0f} s") from error
    return CreatedStacks(outputs, resources)


async def _parameters(ec2: Any, environment: str) -> dict[str, str]:
    """Return PARAMETERS with a new network, and a security group in it for Redis and Prometheus."""
    vpc = (await ec2.create_vpc(CidrBlock="10.9.0.0/16"))["Vpc"]["VpcId"]
    created = [await ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{n}.0/24") for n in range(2)]
    subnets = ",".join(subnet["Subnet"]["SubnetId"] for subnet in created)
    other_group = await ec2.create_security_group(GroupName=f"{environment}-others", Description="others", VpcId=vpc)
    own = {
        "Environment": environment,
        "VpcId": vpc,
        "PublicSubnets": subnets,
        "PrivateSubnets": subnets,
        "RedisSecurityGroup": other_group["GroupId"],
        "PrometheusSecurityGroup": other_group["GroupId"],
    }
    return {**PARAMETERS, **own}


async def _delete(cloudformation: Any, name: str) -> None:
    if await _status(cloudformation, name) is not None:
        await cloudformation.delete_stack(StackName=name)
    while await _status(cloudformation, name) not in {None, "DELETE_COMPLETE"}:  # noqa: ASYNC110 - as below
        await asyncio.sleep(PAUSE)


async def _create(cloudformation: Any, name: str, part: str, parameters: Mapping[str, str]) -> CreatedStacks:
    """Create one stack, with those of the parameters that its template declares, as the AWS CLI does."""
    body = await asyncio.to_thread(template, part)
    await cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(body),
        Capabilities=["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in parameters.items()
            if key in body["Parameters"]
        ],
    )
    while (status := await _status(cloudformation, name)) == "CREATE_IN_PROGRESS":  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(PAUSE)
    if status != "CREATE_COMPLETE":
        events = (await cloudformation.describe_stack_events(StackName=name))["StackEvents"]
        reasons = [e.get("ResourceStatusReason", "") for e in events if e["ResourceStatus"] == "CREATE_FAILED"]
        raise PartError(f"{name} could not be created ({status}): {'; '.join(reasons)}")
    stack = (await cloudformation.describe_stacks(StackName=name))["Stacks"][0]
    resources = (await cloudformation.describe_stack_resources(StackName=name))["StackResources"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    return CreatedStacks(outputs, Counter(resource["ResourceType"] for resource in resources))


async def _status(cloudformation: Any, name: str) -> str | None:
    try:
        return str((await cloudformation.describe_stacks(StackName=name))["Stacks"][0]["StackStatus"])
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
