"""The emulated account: its clients, its roles' credentials, and what is in it before the first command."""

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from aiobotocore.session import get_session

from deploy.local.emulator import ACCESS_KEY, REGION, SECRET_KEY

SESSION = "rehearsal"
DATABASE = "prod"
RECORDINGS_BUCKET = "docfliq-webinars"


class Account:
    """Clients of the account at `url`, whose certificate `authority` has signed. `stack` closes them."""

    def __init__(self, url: str, authority: Path, stack: AsyncExitStack) -> None:
        self.url = url
        self.authority = authority
        self._stack = stack
        self._clients: dict[str, Any] = {}

    async def client(self, service: str) -> Any:
        """Return the root's client of a service."""
        if service not in self._clients:
            root = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "SessionToken": None}
            self._clients[service] = await self._stack.enter_async_context(self._client(service, root))
        return self._clients[service]

    async def credentials(self, role: str) -> dict[str, Any]:
        """Assume a role in the place of ECS. Raises ClientError when its trust policy does not let ECS."""
        answer = await (await self.client("sts")).assume_role(RoleArn=role, RoleSessionName=SESSION)
        found: dict[str, Any] = answer["Credentials"]
        return found

    async def secret(self, role: str, reference: str) -> str:
        """Read what `ARN:KEY::` refers to with the rights of an execution role, as ECS does. Raises ClientError."""
        arn, _, key = reference.removesuffix("::").rpartition(":")
        async with self._client("secretsmanager", await self.credentials(role)) as client:
            stored = await client.get_secret_value(SecretId=arn)
        return str(json.loads(stored["SecretString"])[key])

    async def settings_file(self, role: str, arn: str) -> dict[str, str]:
        """Read an object of lines `NAME=value` with an execution role's rights, as ECS does. Raises ClientError."""
        bucket, _, key = arn.removeprefix("arn:aws:s3:::").partition("/")
        async with self._client("s3", await self.credentials(role)) as client:
            text = (await (await client.get_object(Bucket=bucket, Key=key))["Body"].read()).decode()
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))

    def _client(self, service: str, credentials: Mapping[str, Any]) -> Any:
        session = get_session()
        session.set_credentials(*(credentials[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")))
        return session.create_client(service, region_name=REGION, endpoint_url=self.url, verify=str(self.authority))


async def prepare(account: Account, *, consumer: str, api: str) -> dict[str, str]:
    """Make what must be there before the templates; return the parameters that name it.

    It is a network, the two secrets, and the webinar service's bucket. `consumer` and `api` are the database's URLs for
    the roles of these services.
    """
    ec2, s3, secrets = [await account.client(name) for name in ("ec2", "s3", "secretsmanager")]
    vpc = (await ec2.create_vpc(CidrBlock="10.9.0.0/16"))["Vpc"]["VpcId"]
    made = [await ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{n}.0/24") for n in range(4)]
    subnets = [subnet["Subnet"]["SubnetId"] for subnet in made]
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):  # a test has put a recording there
        await s3.create_bucket(Bucket=RECORDINGS_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    await s3.put_bucket_versioning(Bucket=RECORDINGS_BUCKET, VersioningConfiguration={"Status": "Enabled"})
    contents = {
        "DatabaseSecretArn": {"MEDIA_DATABASE_URL": consumer},
        "ApiSecretArn": {"MEDIA_DATABASE_URL": api, "MEDIA_CALLBACK_SECRET": token_hex(32)},
    }
    arns = {
        name: (await secrets.create_secret(Name=name, SecretString=json.dumps(content)))["ARN"]
        for name, content in contents.items()
    }
    return {
        **arns,
        "VpcId": vpc,
        "PublicSubnets": ",".join(subnets[:2]),
        "PrivateSubnets": ",".join(subnets[2:]),
        "RecordingsBucket": RECORDINGS_BUCKET,
    }
