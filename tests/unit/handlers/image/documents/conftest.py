"""One page renderer for all tests of documents."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest

from handlers.image.documents.renderer import PageRenderer, RenderedDocument


class RenderPages(Protocol):
    """Renders a document, in bytes, into the test's own folder."""

    def __call__(self, content: bytes, *, pages: int = 0) -> Awaitable[RenderedDocument]: ...


@pytest.fixture(scope="session")
async def page_renderer() -> AsyncIterator[PageRenderer]:
    async with PageRenderer() as running:
        yield running


@pytest.fixture
def render_pages_with(tmp_path: Path) -> Callable[[PageRenderer], RenderPages]:
    out_dir = tmp_path / "out"
    out_dir.mkdir()

    def bind(renderer: PageRenderer) -> RenderPages:
        async def run(content: bytes, *, pages: int = 0) -> RenderedDocument:
            source = tmp_path / "source.pdf"
            source.write_bytes(content)
            return await renderer.render(source, out_dir, pages=pages)

        return run

    return bind


@pytest.fixture
def render_pages(page_renderer: PageRenderer, render_pages_with: Callable[[PageRenderer], RenderPages]) -> RenderPages:
    return render_pages_with(page_renderer)
