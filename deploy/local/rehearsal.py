"""Rehearse a deployment without an account: create service.yaml in the emulator of a running stack."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from cfnlint.decode import cfn_yaml  # type: ignore[import-untyped] # ships no types

from deploy.local.child import PartError
from deploy.local.emulator import ACCESS_KEY, REGION, SECRET_KEY

SERVICE = Path(__file__).parents[1] / "cloudformation" / "service.yaml"
DEADLINE = 60.0
"""Seconds for CloudFormation to create or to delete the stack."""
PAUSE = 0.05
UNSUPPORTED = (
    "PublicKey",
    "SecondPublicKey",
    "KeyGroup",
    "ConsumerScaling",
    "ConsumerScalingPolicy",
    "Fn::ForEach::NotPolled",
    "RedisIngress",
    "FailureRatioAlarm",
    "ServerErrorsAlarm",
)
"""Resources that the emulator does not support: CloudFront's keys, autoscaling, rules in other security groups, alarms
on metric math. cfn-lint checks them."""
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
    "RecordingsBucket": "webinars",
    "CloudFrontPublicKey": "PEM",
    "CloudFrontAlias": "media.docfliq.example",
    "CloudFrontCertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/y",
    "CloudFrontLogBucket": "logs",
    "SharedRateLimits": "true",
    "Transcoder": "ffmpeg",
}
"""Invented values of the right format; the emulator does not check them."""


@dataclass(frozen=True, slots=True)
class RehearsalResult:
    """The created stack: its outputs, and the number of resources of each type."""

    outputs: Mapping[str, str]
    resources: Mapping[str, int]


def supported_template() -> str:
    """Return the template as JSON, without the resources that the emulator does not support."""
    template = cfn_yaml.load(str(SERVICE))
    for name in UNSUPPORTED:
        del template["Resources"][name]
    for name in ("ConsumerService", "ApiService"):  # it takes a parameter's number for a string
        template["Resources"][name]["Properties"]["DesiredCount"] = 2
    text = json.dumps(template)
    for name in ("PublicKey", "SecondPublicKey", "KeyGroup"):
        text = text.replace(f'{{"Ref": "{name}"}}', f'"{name}"')
    return text


async def rehearse(url: str, environment: str) -> RehearsalResult:
    """Create the stack `ENVIRONMENT-service` in the emulator at `url`; delete an existing one first.

    Raises PartError when CloudFormation does not reach a complete state within a minute.
    """
    session = get_session()
    session.set_credentials(ACCESS_KEY, SECRET_KEY)
    async with AsyncExitStack() as stack:
        clients = [session.create_client(n, endpoint_url=url, region_name=REGION) for n in ("cloudformation", "ec2")]
        cloudformation, ec2 = [await stack.enter_async_context(client) for client in clients]
        name = f"{environment}-service"
        try:
            async with asyncio.timeout(DEADLINE):
                if await _status(cloudformation, name) is not None:
                    await cloudformation.delete_stack(StackName=name)
                while await _status(cloudformation, name) not in {None, "DELETE_COMPLETE"}:  # noqa: ASYNC110 - as below
                    await asyncio.sleep(PAUSE)
                return await _create(cloudformation, name, await _parameters(ec2, environment))
        except TimeoutError as error:
            raise PartError(f"CloudFormation has not finished {name} within {DEADLINE:.0f} s") from error


async def _parameters(ec2: Any, environment: str) -> list[dict[str, str]]:
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
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in {**PARAMETERS, **own}.items()]


async def _create(cloudformation: Any, name: str, parameters: list[dict[str, str]]) -> RehearsalResult:
    await cloudformation.create_stack(
        StackName=name,
        TemplateBody=await asyncio.to_thread(supported_template),
        Capabilities=["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=parameters,
    )
    while (status := await _status(cloudformation, name)) == "CREATE_IN_PROGRESS":  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(PAUSE)
    if status != "CREATE_COMPLETE":
        events = (await cloudformation.describe_stack_events(StackName=name))["StackEvents"]
        reasons = [e.get("ResourceStatusReason", "") for e in events if e["ResourceStatus"] == "CREATE_FAILED"]
        raise PartError(f"{name} could not be created ({status}): {'; '.join(reasons)}")
    stack = (await cloudformation.describe_stacks(StackName=name))["Stacks"][0]
    resources = (await cloudformation.describe_stack_resources(StackName=name))["StackResources"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    return RehearsalResult(outputs, Counter(resource["ResourceType"] for resource in resources))


async def _status(cloudformation: Any, name: str) -> str | None:
    try:
        return str((await cloudformation.describe_stacks(StackName=name))["Stacks"][0]["StackStatus"])
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
