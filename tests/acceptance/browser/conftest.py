"""A real Chromium, and visitors in it: one user with one tab each, whose console errors are recorded."""

import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, async_playwright

from tests.acceptance.browser.large_files import LARGE_PDF, write_document
from tests.conftest import EmbeddedStack

TIMEOUT_MS = 90_000.0
"""Milliseconds to wait for the page and the stack. Encoding a clip takes some seconds on two cores."""
CHROMIUM_FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",  # The sandbox does not work for root; the pages are our own.
)
DROP_SCRIPT = """([element, files]) => {
    const carried = new DataTransfer();
    for (const [name, type, content] of files) {
        carried.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, { type }));
    }
    for (const kind of ['dragenter', 'dragover', 'drop']) {
        element.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
    }
}"""


@dataclass(frozen=True, slots=True)
class File:
    """A file that a visitor drops on the page."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Visitor:
    """One user with one tab. `console_errors` holds the errors on its console."""

    page: Page
    url: str
    console_errors: list[str] = field(default_factory=list)

    async def open_gallery(self, token: str) -> None:
        """Open the gallery with a token in the address, as `./run.sh token` suggests, and wait until it has loaded."""
        await self.page.goto(f"{self.url}/#token={token}")
        await self.page.locator("#grid[aria-busy=false]").wait_for(state="attached")

    async def open_operations(self, token: str) -> None:
        """Open the operator's view and wait for its first summary."""
        await self.page.goto(f"{self.url}/ops#token={token}")
        await self.page.locator("#board[aria-busy=false]").wait_for()

    def record_console(self) -> None:
        """Record the errors of the console from now on."""

        def record(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.console_errors.append(message.text)

        self.page.on("console", record)
        self.page.on("pageerror", lambda error: self.console_errors.append(str(error)))

    def expect_console_errors(self, *expected: str) -> None:
        """Remove errors that Chromium logs for responses of the test. Fail if one is missing; keep the others."""
        assert {text for text in expected if any(text in one for one in self.console_errors)} == set(expected)
        self.console_errors[:] = [one for one in self.console_errors if not any(text in one for text in expected)]

    async def drop(self, *files: File) -> None:
        carried = [[file.name, file.content_type, base64.b64encode(file.content).decode()] for file in files]
        target = await self.page.locator("#drop").element_handle()
        await self.page.evaluate(DROP_SCRIPT, [target, carried])

    def card(self, name: str, status: str = "") -> Locator:
        """Locate the card of a file, with this status if one is given."""
        state = f'[data-status="{status}"]' if status else ""
        return self.page.locator(f".card{state}").filter(has=self.page.get_by_role("heading", name=name, exact=True))

    async def open(self, name: str) -> Locator:
        """Open a file in the viewer."""
        await self.card(name).locator(".card-open").click()
        viewer = self.page.get_by_role("dialog", name=name)
        await viewer.wait_for()
        return viewer


def find_chromium() -> str | None:
    """Return the path of Chromium. Its headless shell opens a tab in a quarter of the time: it draws no window."""
    return next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)


@asynccontextmanager
async def started_chromium(*flags: str) -> AsyncIterator[Browser]:
    """Run Chromium, with more flags. Skip the test if it is not installed."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium is installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=[*CHROMIUM_FLAGS, *flags])
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with started_chromium() as browser:
        yield browser


@pytest.fixture
async def anonymous_visitor(chromium: Browser, stack: EmbeddedStack) -> AsyncIterator[Visitor]:
    """Return a visitor without a token, who has not opened the page yet."""
    context = await chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(TIMEOUT_MS)
    try:
        yield Visitor(await context.new_page(), stack.api_url)
    finally:
        await context.close()


@pytest.fixture
async def visitor(anonymous_visitor: Visitor, stack: EmbeddedStack) -> AsyncIterator[Visitor]:
    """Return a user of this test alone, with the gallery open. A console error fails the test."""
    anonymous_visitor.record_console()
    await anonymous_visitor.open_gallery(stack.token(user=f"visitor-{uuid4().hex[:8]}"))
    yield anonymous_visitor
    assert not anonymous_visitor.console_errors


@pytest.fixture
def owner() -> str:
    """Return the user id of `named_visitor`."""
    return f"visitor-{uuid4().hex[:8]}"


@pytest.fixture
async def named_visitor(anonymous_visitor: Visitor, stack: EmbeddedStack, owner: str) -> Visitor:
    """Return a user whose id is `owner`, with the gallery open."""
    anonymous_visitor.record_console()
    await anonymous_visitor.open_gallery(stack.token(user=owner))
    return anonymous_visitor


@pytest.fixture
async def operator(anonymous_visitor: Visitor, stack: EmbeddedStack) -> AsyncIterator[Visitor]:
    """Return an administrator with the operator's view open. A console error fails the test."""
    anonymous_visitor.record_console()
    await anonymous_visitor.open_operations(stack.token(user="root", role="admin"))
    yield anonymous_visitor
    assert not anonymous_visitor.console_errors


@pytest.fixture(scope="session")
def clip_file(clip: Path) -> File:
    return File("clip.mp4", "video/mp4", clip.read_bytes())


@pytest.fixture(scope="session")
def photo_file(photo: Path) -> File:
    return File("photo.jpg", "image/jpeg", photo.read_bytes())


@pytest.fixture(scope="session")
def large_pdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a PDF that is large enough for a multipart upload."""
    return write_document(tmp_path_factory.mktemp("large-pdf") / LARGE_PDF, seed=1)
