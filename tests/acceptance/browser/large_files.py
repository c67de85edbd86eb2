"""A file that goes in parts, and a gate on the way to the storage that lets only some of them through."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from playwright.async_api import Locator, Page, Request, Route

from tests.conftest import EmbeddedStack

ATLAS = "Atlas of cardiology.pdf"
SIZE = 44_000_000
PARTS = 6
"""Of 8 MiB, the last one shorter."""
TWO_PARTS = "38 %"
"""What two parts are of SIZE."""
PART_URLS = "**/*partNumber=*"


def write_document(path: Path, seed: int) -> Path:
    """A PDF of SIZE bytes that no compression makes smaller, the same one for the same seed."""
    head = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
    tail = b"\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    stream = b"3 0 obj<</Length %d>>stream\n"
    noise = SIZE - len(head) - len(tail) - len(stream % SIZE)
    chance = random.Random(seed)  # noqa: S311 - repeatable noise, no secret
    path.write_bytes(head + stream % noise + chance.randbytes(noise) + tail)
    return path


def part_of(url: str) -> int:
    """The number of the part that a URL is for; 0 when it is for none."""
    return int(parse_qs(urlsplit(url).query).get("partNumber", ["0"])[0])


@dataclass  # without slots: Playwright keeps its wrappers of bound methods on the instance
class Gate:
    """Lets the parts through that `opens_for` names and holds the others until `opened` is set.

    `sent` are the parts that the page asked to send, in order; `stored` those that the storage has taken.
    """

    opens_for: Callable[[int], bool] = lambda _number: True
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[int] = field(default_factory=list)
    stored: set[int] = field(default_factory=set)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def stand_before(self, page: Page) -> None:
        """Take this page's parts from now on."""
        await page.route(PART_URLS, self._pass)
        page.on("requestfinished", self._finished)

    async def wait_for(self, stored: set[int]) -> None:
        """Until the storage has exactly these."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.stored == stored)

    async def _pass(self, route: Route) -> None:
        number = part_of(route.request.url)
        self.sent.append(number)
        if not self.opens_for(number):
            await self.opened.wait()
        await route.continue_()

    async def _finished(self, request: Request) -> None:
        number = part_of(request.url)
        answer = await request.response() if number and request.method == "PUT" else None
        if answer is None or not answer.ok:
            return
        async with self._changed:
            self.stored.add(number)
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Bucket:
    """The storage itself, past the API."""

    stack: EmbeddedStack

    async def uploads(self, owner: str) -> list[tuple[str, str]]:
        """Key and id of the uploads in parts that an owner has not ended."""
        async with self._client() as s3:
            found = await s3.list_multipart_uploads(Bucket=self._name)
        uploads = [(one["Key"], one["UploadId"]) for one in found.get("Uploads", [])]
        return [(key, upload_id) for key, upload_id in uploads if f"/{owner}/" in key]

    async def sweep(self, owner: str) -> None:
        """What the bucket's lifecycle does after a day."""
        for key, upload_id in await self.uploads(owner):
            async with self._client() as s3:
                await s3.abort_multipart_upload(Bucket=self._name, Key=key, UploadId=upload_id)

    @property
    def _name(self) -> str:
        return self.stack.settings["OUTPUT_BUCKET"]

    def _client(self) -> AbstractAsyncContextManager[Any]:
        env = self.stack.settings
        client: AbstractAsyncContextManager[Any] = get_session().create_client(
            "s3",
            endpoint_url=env["AWS_ENDPOINT_URL"],
            region_name=env["AWS_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            config=AioConfig(s3={"addressing_style": "path"}),
        )
        return client


def row(page: Page) -> Locator:
    """The interrupted upload."""
    return page.locator(".unfinished-row")


async def half_sent(page: Page, atlas: Path) -> None:
    """Send two parts of the atlas; the rest gets no further than the door."""
    gate = Gate(lambda number: number <= 2)
    await gate.stand_before(page)
    await page.set_input_files("#files", atlas)
    await gate.wait_for(stored={1, 2})
