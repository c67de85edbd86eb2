"""A user of the embedded stack, by the API and as an attacker with access to the bucket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiobotocore.session import AioSession

from tests.conftest import EmbeddedStack

DONE = {"ready", "rejected", "failed"}
DEADLINE = 60.0


class User:
    """A user of the platform, who may also act as an attacker."""

    def __init__(
        self, http: aiohttp.ClientSession, plain: aiohttp.ClientSession, s3: Any, bucket: str, quarantine: str
    ) -> None:
        self.http = http
        self.plain = plain
        self.s3 = s3
        self.bucket = bucket
        self.quarantine = quarantine

    async def announce(self, kind: str, content_type: str, name: str) -> Any:
        body = {"asset_type": kind, "content_type": content_type, "original_filename": name}
        async with self.http.post("upload", json=body, raise_for_status=True) as answer:
            return await answer.json()

    async def upload(self, kind: str, content_type: str, content: bytes, **headers: str) -> Any:
        slot = await self.announce(kind, content_type, "file")
        async with self.plain.put(
            slot["upload_url"], data=content, headers=slot["headers"] | headers, raise_for_status=True
        ):
            return slot

    async def get(self, slot: Any, what: str = "") -> Any:
        async with self.http.get(f"assets/{slot['asset_id']}{what}", raise_for_status=True) as answer:
            return await answer.json()

    async def until(self, slot: Any, what: str, happened: Callable[[Any], bool]) -> Any:
        """Return the API's answer once `happened` is true of it."""
        async with asyncio.timeout(DEADLINE):
            while not happened(found := await self.get(slot, what)):  # noqa: ASYNC110 - only the API tells
                await asyncio.sleep(0.05)
        return found

    async def end(self, slot: Any) -> Any:
        return await self.until(slot, "", lambda asset: asset["status"] in DONE)

    async def noted(self, slot: Any, code: str) -> None:
        await self.until(slot, "/timeline", lambda line: code in {entry["code"] for entry in line["items"]})

    async def fetch(self, slot: Any, rendition: str = "") -> tuple[bytes, Any]:
        """Return the bytes and headers of a rendition, the default one without a name."""
        found = await self.get(slot, f"/url?rendition={rendition}" if rendition else "/url")
        async with self.plain.get(found["url"], raise_for_status=True) as answer:
            return await answer.read(), answer.headers

    async def versions(self, slot: Any) -> list[Any]:
        listed = await self.s3.list_object_versions(Bucket=self.bucket, Prefix=slot["s3_key"])
        return list(listed.get("Versions", ()))

    async def only_version(self, slot: Any) -> None:
        """Wait until the key has a single version."""
        async with asyncio.timeout(DEADLINE):
            while len(await self.versions(slot)) != 1:  # noqa: ASYNC110 - only S3 tells
                await asyncio.sleep(0.05)


@asynccontextmanager
async def user_of(stack: EmbeddedStack) -> AsyncIterator[User]:
    settings = stack.settings
    client = AioSession().create_client(
        "s3",
        region_name=settings["AWS_REGION"],
        endpoint_url=settings["AWS_ENDPOINT_URL"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )
    base = f"{stack.api_url}/api/v1/media/"
    headers = {"Authorization": f"Bearer {stack.token('scanned')}"}
    sessions = aiohttp.ClientSession(base, headers=headers), aiohttp.ClientSession()
    async with client as s3, sessions[0] as http, sessions[1] as plain:
        yield User(http, plain, s3, settings["OUTPUT_BUCKET"], settings["MEDIA_QUARANTINE_BUCKET"])
