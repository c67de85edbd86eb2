"""A real Chromium, and a visitor in it who drops files on the page and hears every complaint of the console."""

import base64
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, async_playwright

from tests.acceptance.browser.large_files import ATLAS, write_document
from tests.conftest import EmbeddedStack

PATIENCE = 90_000.0
"""Milliseconds for what the stack must do; encoding a clip takes some seconds of two cores."""
OFFLINE = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",  # it cannot be had as root; the pages are our own
)
DROP = """([element, files]) => {
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
    """A file on the visitor's desk."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Visitor:
    """One user with one tab. `complaints` is what the console said was wrong."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    async def arrive(self, token: str) -> None:
        """Open the page the way `./run.sh token` suggests, and wait until it has looked what is there."""
        await self.page.goto(f"{self.url}/#token={token}")
        await self.page.locator("#grid[aria-busy=false]").wait_for(state="attached")

    async def operate(self, token: str) -> None:
        """Open the operator's view and wait for what it has to tell."""
        await self.page.goto(f"{self.url}/ops#token={token}")
        await self.page.locator("#board[aria-busy=false]").wait_for()

    def listen(self) -> None:
        """From now on, what the console complains of is a complaint."""

        def hear(said: ConsoleMessage) -> None:
            if said.type == "error":
                self.complaints.append(said.text)

        self.page.on("console", hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def forgive(self, *expected: str) -> None:
        """Take away what Chromium itself says of answers that a test arranged, and must say. The rest stays."""
        assert {text for text in expected if any(text in one for one in self.complaints)} == set(expected)
        self.complaints[:] = [one for one in self.complaints if not any(text in one for text in expected)]

    async def drop(self, *files: File) -> None:
        carried = [[file.name, file.content_type, base64.b64encode(file.content).decode()] for file in files]
        target = await self.page.locator("#drop").element_handle()
        await self.page.evaluate(DROP, [target, carried])

    def card(self, name: str, status: str = "") -> Locator:
        """The card of a file, in this status if one is named."""
        state = f'[data-status="{status}"]' if status else ""
        return self.page.locator(f".card{state}").filter(has=self.page.get_by_role("heading", name=name, exact=True))

    async def open(self, name: str) -> Locator:
        """The viewer, showing a file."""
        await self.card(name).locator(".card-open").click()
        viewer = self.page.get_by_role("dialog", name=name)
        await viewer.wait_for()
        return viewer


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium is installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=list(OFFLINE))
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture
async def stranger(chromium: Browser, stack: EmbeddedStack) -> AsyncIterator[Visitor]:
    """Somebody who has not opened the page yet, and holds no token."""
    context = await chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(PATIENCE)
    try:
        yield Visitor(await context.new_page(), stack.api_url)
    finally:
        await context.close()


@pytest.fixture
async def visitor(stranger: Visitor, stack: EmbeddedStack) -> AsyncIterator[Visitor]:
    """A user of this test alone, with the page open. A complaint of the console fails the test."""
    stranger.listen()
    await stranger.arrive(stack.token(user=f"visitor-{uuid4().hex[:8]}"))
    yield stranger
    assert not stranger.complaints


@pytest.fixture
def owner() -> str:
    """Whose files `reader` sees."""
    return f"visitor-{uuid4().hex[:8]}"


@pytest.fixture
async def reader(stranger: Visitor, stack: EmbeddedStack, owner: str) -> Visitor:
    """A user whose name is known, with the page open."""
    stranger.listen()
    await stranger.arrive(stack.token(user=owner))
    return stranger


@pytest.fixture
async def operator(stranger: Visitor, stack: EmbeddedStack) -> AsyncIterator[Visitor]:
    """An administrator before the operator's view. A complaint of the console fails the test."""
    stranger.listen()
    await stranger.operate(stack.token(user="root", role="admin"))
    yield stranger
    assert not stranger.complaints


@pytest.fixture(scope="session")
def clip_file(clip: Path) -> File:
    return File("clip.mp4", "video/mp4", clip.read_bytes())


@pytest.fixture(scope="session")
def photo_file(photo: Path) -> File:
    return File("photo.jpg", "image/jpeg", photo.read_bytes())


@pytest.fixture(scope="session")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document that goes in parts."""
    return write_document(tmp_path_factory.mktemp("atlas") / ATLAS, seed=1)
