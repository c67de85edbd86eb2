"""A client for tests of whole stacks: a user with a token, and an operator with access to S3, SQS and the database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
from aiobotocore.session import AioSession

from tests.conftest import EmbeddedStack

FINAL_STATUSES = {"ready", "rejected", "failed"}
DEADLINE = 90.0


@dataclass(frozen=True, slots=True)
class Client:
    """HTTP as one user, S3 and SQS as the operator, and the database."""

    stack: EmbeddedStack
    http: aiohttp.ClientSession
    plain: aiohttp.ClientSession
    s3: Any
    sqs: Any

    @property
    def bucket(self) -> str:
        return self.stack.settings["OUTPUT_BUCKET"]

    async def upload(
        self, kind: str, content_type: str, name: str, content: bytes, deadline: float = DEADLINE, **announced: str
    ) -> Any:
        """Upload a file, and return its asset in a final status, which it reaches within so many seconds."""
        body = {"asset_type": kind, "content_type": content_type, "original_filename": name, **announced}
        async with self.http.post("upload", json=body, raise_for_status=True) as answer:
            slot = await answer.json()
        async with self.plain.put(
            slot["upload_url"], data=content, headers=slot["headers"], raise_for_status=True, timeout=LONG_TIMEOUT
        ):
            return await self.wait_until_done(slot["asset_id"], deadline)

    async def get(self, asset_id: str, what: str = "") -> Any:
        async with self.http.get(f"assets/{asset_id}{what}", raise_for_status=True) as answer:
            return await answer.json()

    async def wait_until_done(self, asset_id: str, deadline: float = DEADLINE) -> Any:
        return await self.wait_for(
            lambda: self.get(asset_id), lambda asset: asset["status"] in FINAL_STATUSES, deadline
        )

    async def wait_for_only_asset(self) -> Any:
        """Wait for the only asset of this user, and return it in a final status."""
        found = await self.wait_for(self._list_assets, bool)
        return await self.wait_until_done(found[0]["asset_id"])

    async def wait_for(
        self, look: Callable[[], Any], happened: Callable[[Any], bool], deadline: float = DEADLINE
    ) -> Any:
        async with asyncio.timeout(deadline):
            while not happened(found := await look()):  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(0.1)
        return found

    async def timeline_details(self, asset_id: str) -> dict[str, str]:
        """Return the details of the timeline, by code."""
        return {entry["code"]: entry["detail"] for entry in (await self.get(asset_id, "/timeline"))["items"]}

    async def fetch_rendition(self, asset_id: str, rendition: str) -> tuple[bytes, str]:
        """Download a rendition as a browser does; return its bytes and content type."""
        url = (await self.get(asset_id, f"/url?rendition={rendition}"))["url"]
        async with self.plain.get(url, raise_for_status=True, timeout=LONG_TIMEOUT) as answer:
            return await answer.read(), answer.headers["Content-Type"]

    async def url_status(self, asset_id: str, rendition: str) -> int:
        """Return the HTTP status of a request for a URL."""
        async with self.http.get(f"assets/{asset_id}/url?rendition={rendition}") as answer:
            return answer.status

    async def row(self, asset_id: str) -> "asyncpg.Record":
        connection = await asyncpg.connect(self.stack.dsn)
        try:
            found = await connection.fetchrow("SELECT * FROM assets WHERE asset_id = $1::text::uuid", asset_id)
        finally:
            await connection.close()
        assert found
        return found

    async def tags(self, bucket: str, key: str) -> dict[str, str]:
        tagging = await self.s3.get_object_tagging(Bucket=bucket, Key=key)
        return {tag["Key"]: tag["Value"] for tag in tagging["TagSet"]}

    async def _list_assets(self) -> Any:
        async with self.http.get("assets", raise_for_status=True) as answer:
            return (await answer.json())["items"]


LONG_TIMEOUT = aiohttp.ClientTimeout(total=DEADLINE)


@asynccontextmanager
async def open_client(stack: EmbeddedStack, user: str) -> AsyncIterator[Client]:
    settings = stack.settings
    aws: dict[str, Any] = {
        "region_name": settings["AWS_REGION"],
        "endpoint_url": settings["AWS_ENDPOINT_URL"],
        "aws_access_key_id": settings["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": settings["AWS_SECRET_ACCESS_KEY"],
    }
    session, headers = AioSession(), {"Authorization": f"Bearer {stack.token(user)}"}
    async with (
        session.create_client("s3", **aws) as s3,
        session.create_client("sqs", **aws) as sqs,
        aiohttp.ClientSession(f"{stack.api_url}/api/v1/media/", headers=headers) as http,
        aiohttp.ClientSession() as plain,
    ):
        yield Client(stack, http, plain, s3, sqs)
