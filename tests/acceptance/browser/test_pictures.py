"""The pictures in the docs. With `MEDIA_TEST_PICTURES=docs` they are renewed (`tests/README.md`)."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pyvips
from playwright.async_api import Browser, Page, expect

from deploy.local import programs
from tests.acceptance.browser.conftest import TIMEOUT_MS, File, Visitor
from tests.acceptance.browser.large_files import interrupted_row, send_two_parts
from tests.acceptance.browser.library import ARABIC
from tests.acceptance.browser.ops_summaries import failing_summary, show_summary
from tests.acceptance.conftest import ROOT, eicar
from tests.conftest import EmbeddedStack
from tests.unit.handlers.image.documents.pages import painted
from tests.unit.handlers.scan.documents.samples import document

pytestmark = pytest.mark.soak
expect.set_options(timeout=TIMEOUT_MS)
COLORS = {
    "retina-left-eye.jpg": [(70, 16, 8), (214, 96, 34), (252, 196, 128)],
    "histology-slide-07.jpg": [(92, 40, 110), (196, 110, 184), (250, 222, 240)],
    "mri-axial-t2.jpg": [(14, 16, 20), (92, 98, 106), (232, 236, 240)],
    ARABIC: [(8, 62, 66), (62, 158, 150), (190, 226, 220)],
}
"""By picture: its darkest, middle and brightest color."""
REMOVE_TOASTS = "document.querySelectorAll('.toast').forEach((toast) => toast.remove())"
IS_PLAYABLE = """() => {
    const { readyState, seeking } = document.querySelector('video');
    return readyState === 4 && !seeking && document.querySelector('.quality-now').textContent;
}"""
FILM = "suture-technique.mp4"


def picture(colors: list[tuple[int, int, int]], seed: int) -> bytes:
    """Make a picture of soft shapes in these colors."""
    noise = pyvips.Image.perlin(1600, 1200, cell_size=500 - 60 * seed, seed=seed).scaleimage()
    waves = (noise.linear(0.11, 0).math("sin").linear(120, 128) if seed % 2 else noise).cast("uchar")
    ramp = [
        [int(low + (high - low) * step / 128) for low, high in zip(first, second, strict=True)]
        for first, second in itertools.pairwise(colors)
        for step in range(128)
    ]
    table = pyvips.Image.new_from_memory(bytes(value for color in ramp for value in color), 256, 1, 3, "uchar")
    content: bytes = waves.maplut(table).jpegsave_buffer(Q=88)
    return content


@pytest.fixture
async def film(tmp_path: Path) -> Path:
    """Make a film of eight seconds with sound."""
    scene = "gradients=size=1280x720:rate=25:duration=8:c0=0x0b2a38:c1=0x0b7570:c2=0x8fd3c8:nb_colors=3:speed=0.02"
    path = tmp_path / FILM
    inputs = ["-f", "lavfi", "-i", scene, "-f", "lavfi", "-i", "sine=frequency=220:duration=8"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest"]
    ffmpeg = await asyncio.create_subprocess_exec(programs.ffmpeg(), "-v", "error", *inputs, *coded, str(path))
    assert await ffmpeg.wait() == 0
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return the folder for the pictures. In the end it must hold all that the docs have."""
    path = Path(os.environ.get("MEDIA_TEST_PICTURES", tmp_path / "pictures"))
    path.mkdir(exist_ok=True)
    yield path
    assert {one.name for one in path.glob("*.png")} == {one.name for one in (ROOT / "docs").glob("*.png")}


@pytest.fixture
async def doctor(chromium: Browser, stack: EmbeddedStack, film: Path) -> AsyncIterator[Visitor]:
    """Return a doctor who has just sent pictures, a letter, a film and a virus; the film is not ready yet."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 1010}, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    visitor = Visitor(await context.new_page(), stack.api_url)
    await visitor.open_gallery(stack.token(user="demo-user"))
    pictures = [File(name, "image/jpeg", picture(colors, i)) for i, (name, colors) in enumerate(COLORS.items())]
    letter = document(painted(b"0.9 0.95 0.95 rg 0 0 400 400 re f"))
    await visitor.drop(
        *pictures,
        File(FILM, "video/mp4", film.read_bytes()),  # noqa: ASYNC240 - a small file
        File("consent-form.pdf", "application/pdf", letter),
        File("invoice-scan.jpg", "image/jpeg", eicar()),
    )
    yield visitor
    await context.close()


async def test_pictures_of_the_docs_are_taken(
    doctor: Visitor, named_visitor: Visitor, stack: EmbeddedStack, large_pdf: Path, folder: Path
) -> None:
    async def shoot(page: Page, name: str, *, whole: bool = False) -> None:
        await page.screenshot(path=folder / f"{name}.png", full_page=whole)

    page = doctor.page
    for name in (*COLORS, "consent-form.pdf"):
        await expect(doctor.card(name, "ready")).to_be_visible()
        await expect(doctor.card(name).locator("img.is-loaded")).to_be_attached()
    await page.evaluate(REMOVE_TOASTS)
    await shoot(page, "page")
    await expect(doctor.card(FILM, "ready")).to_be_visible()
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.get_by_role("radio", name="List").check(force=True)
    await page.get_by_role("button", name="Select", exact=True).click()
    await page.locator(".card-check").nth(1).click()
    await page.locator("#library").evaluate("library => library.scrollIntoView()")
    await page.evaluate(REMOVE_TOASTS)
    await shoot(page, "page-phone")
    await page.get_by_role("button", name="Done").click()
    await page.set_viewport_size({"width": 1280, "height": 860})
    await page.emulate_media(color_scheme="dark")
    viewer = await doctor.open(FILM)
    await viewer.locator("video").evaluate("video => { video.currentTime = 3; }")
    await page.wait_for_function(IS_PLAYABLE)
    await shoot(page, "page-player-dark")

    await send_two_parts(named_visitor.page, large_pdf)
    await named_visitor.page.reload()
    await expect(interrupted_row(named_visitor.page)).to_be_visible()
    await shoot(named_visitor.page, "page-unfinished")

    await named_visitor.open_operations(stack.token(user="root", role="admin"))
    await show_summary(named_visitor.page, failing_summary())
    await expect(named_visitor.page.locator("#stuck tbody tr")).to_have_count(2)
    await shoot(named_visitor.page, "ops", whole=True)
