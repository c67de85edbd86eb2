"""A library of pictures that are ready, made once for all tests of a file, and visitors who look at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from playwright.async_api import Browser, expect

from tests.acceptance.browser.conftest import TIMEOUT_MS, File, Visitor
from tests.acceptance.conftest import jpeg
from tests.conftest import EmbeddedStack

ARABIC = "تقرير تخطيط القلب للمريض رقم ثلاثة عشر من قسم الطوارئ 2026-03-14.jpg"
"""A report of an ECG, of a patient of the emergency ward."""
NAMES = ("Zürich 10.jpg", "zürich 9.jpg", ARABIC, "Knee.jpg")
"""Of the pictures, in the order in which they were sent."""


@dataclass(frozen=True, slots=True)
class Library:
    """One user's pictures. Tests that change them make a library of their own."""

    browser: Browser
    stack: EmbeddedStack
    owner: str

    @property
    def token(self) -> str:
        return self.stack.token(user=self.owner)

    @asynccontextmanager
    async def visited(self, **surroundings: Any) -> AsyncIterator[Visitor]:
        """Open the gallery in a new context with these surroundings. An error on its console fails the test."""
        context = await self.browser.new_context(**surroundings)
        context.set_default_timeout(TIMEOUT_MS)
        try:
            visitor = Visitor(await context.new_page(), self.stack.api_url)
            visitor.record_console()
            await visitor.open_gallery(self.token)
            yield visitor
            assert not visitor.console_errors
        finally:
            await context.close()


async def send_pictures(browser: Browser, stack: EmbeddedStack) -> Library:
    """Send a picture under each name, the later ones larger, and wait until all are ready."""
    library = Library(browser, stack, f"library-{uuid4().hex[:8]}")
    pictures = [File(name, "image/jpeg", jpeg(300 + 100 * i, 200, i)) for i, name in enumerate(NAMES)]
    async with library.visited() as visitor:
        for picture in pictures:  # one after the other: several at once have no order
            async with visitor.page.expect_response("**/api/v1/media/upload"):
                await visitor.drop(picture)
        await expect(visitor.page.locator(".card[data-status=ready]")).to_have_count(len(NAMES), timeout=TIMEOUT_MS)
    return library
