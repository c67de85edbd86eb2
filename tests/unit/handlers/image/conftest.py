from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from handlers.image.renderer import ImageLimits, ImageRenderer, RenderedImage

MIB = 1024 * 1024
LIMITS = ImageLimits(
    max_bytes=50 * MIB,
    max_pixels=100_000_000,
    max_total_pixels=200_000_000,
    memory=1536 * MIB,
    timeout=60.0,
    workers=2,
    budget=2048 * MIB,
)

type Render = Callable[[Path | bytes], Awaitable[RenderedImage]]


@pytest.fixture(scope="session")
def limits() -> ImageLimits:
    return LIMITS


@pytest.fixture(scope="session")
async def renderer() -> AsyncIterator[ImageRenderer]:
    async with ImageRenderer(LIMITS) as running:
        yield running


@pytest.fixture
def render(renderer: ImageRenderer, tmp_path: Path) -> Render:
    """Renders a file, or bytes, into the test's own folder."""
    out_dir = tmp_path / "out"
    out_dir.mkdir()

    async def run(source: Path | bytes) -> RenderedImage:
        if isinstance(source, bytes):
            path = tmp_path / "source"
            path.write_bytes(source)
        else:
            path = source
        return await renderer.render(path, out_dir)

    return run
