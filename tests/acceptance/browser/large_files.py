"""A file for multipart uploads, and a gate that lets only some of its parts through to the storage."""

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
from pikepdf import Pdf
from playwright.async_api import Locator, Page, Request, Route

from tests.conftest import EmbeddedStack
from tests.unit.handlers.scan.documents.samples import document

LARGE_PDF = "Atlas of cardiology.pdf"
SIZE = 34_000_000
"""Bytes: hardly more than what the page sends in one piece. Each is copied several times on its way to the storage."""
PARTS = 5
"""Number of parts of SIZE bytes: 8 MiB each, the last one shorter."""
ONE_PART, TWO_PARTS = "24 %", "49 %"
"""Shares of SIZE that one and two parts are, as the page shows them."""
PART_URLS = "**/*partNumber=*"


def write_document(path: Path, seed: int) -> Path:
    """Write a PDF of SIZE incompressible bytes. The same seed gives the same file."""
    chance = random.Random(seed)  # noqa: S311 - repeatable noise, no secret
    noise = chance.randbytes(SIZE)

    def attach(pdf: Pdf) -> None:
        pdf.Root.Noise = pdf.make_stream(noise)

    rest = len(document(attach, compress_streams=False)) - SIZE
    noise = noise[:-rest]
    path.write_bytes(document(attach, compress_streams=False))
    return path


def part_of(url: str) -> int:
    """Read the part number of an upload URL; 0 for another URL."""
    return int(parse_qs(urlsplit(url).query).get("partNumber", ["0"])[0])


@dataclass  # without slots: Playwright keeps its wrappers of bound methods on the instance
class PartGate:
    """Lets the parts through for which `lets_through` is true, and holds the others until `opened` is set.

    `sent` lists the parts that the page sent, in order; `stored` holds those that the storage has accepted.
    """

    lets_through: Callable[[int], bool] = lambda _number: True
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[int] = field(default_factory=list)
    stored: set[int] = field(default_factory=set)
    _held: set[int] = field(default_factory=set)
    _is_cut: bool = False
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def attach(self, page: Page) -> None:
        """Intercept the parts of this page from now on."""
        await page.route(PART_URLS, self._pass)
        page.on("requestfinished", self._finished)

    async def cut(self) -> None:
        """Abort the parts that are held and all later ones. A page that is closed would let held ones through."""
        self._is_cut = True
        self.opened.set()
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: not self._held)

    async def wait_for(self, stored: set[int]) -> None:
        """Wait until exactly these parts are stored."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.stored == stored)

    async def _pass(self, route: Route) -> None:
        number = part_of(route.request.url)
        self.sent.append(number)
        if not self.lets_through(number):
            self._held.add(number)
            await self.opened.wait()
        await (route.abort() if self._is_cut else route.continue_())
        async with self._changed:
            self._held.discard(number)
            self._changed.notify_all()

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
    """Access to the storage without the API."""

    stack: EmbeddedStack

    async def uploads(self, owner: str) -> list[tuple[str, str]]:
        """List key and id of the owner's multipart uploads that are not completed."""
        async with self._client() as s3:
            found = await s3.list_multipart_uploads(Bucket=self._name)
        uploads = [(one["Key"], one["UploadId"]) for one in found.get("Uploads", [])]
        return [(key, upload_id) for key, upload_id in uploads if f"/{owner}/" in key]

    async def expire_uploads(self, owner: str) -> None:
        """Abort the owner's multipart uploads, as the bucket's lifecycle does after a day."""
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


def interrupted_row(page: Page) -> Locator:
    """Locate the interrupted upload in the resume list."""
    return page.locator(".unfinished-row")


async def send_two_parts(page: Page, large_pdf: Path) -> PartGate:
    """Send two parts of the file; the gate that is returned holds the others."""
    gate = PartGate(lambda number: number <= 2)
    await gate.attach(page)
    await page.set_input_files("#files", large_pdf)
    await gate.wait_for(stored={1, 2})
    return gate
