"""Pages of documents as pictures: sizes, what is drawn, and documents that PDFium cannot draw."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pikepdf import Encryption
from PIL import Image

from handlers.image.documents import renderer
from handlers.image.documents.protocol import PageJob, RenderedPage, decode_reply
from handlers.image.documents.renderer import PageRenderer, RenderedDocument
from handlers.image.geometry import PAGE_PIXELS, WEBP_SIDE
from media.errors import Code, RejectedError, RetryableError
from tests.unit.handlers.image.documents.conftest import RenderPages
from tests.unit.handlers.image.documents.pages import MIB, bomb, endless, painted, shaped, widget
from tests.unit.handlers.scan.documents.samples import document

RED = b"1 0 0 rg 0 0 200 200 re f"
GREEN_TOP = b"0 1 0 rg 0 100 200 100 re f"


def files_of(rendered: RenderedDocument) -> dict[str, tuple[int, int]]:
    return {file.name: (file.width, file.height) for file in rendered.files}


def color_at(rendered: RenderedDocument, name: str, across: float, down: float) -> tuple[int, ...]:
    """Return the color of a point of a rendition, rounded to a few steps."""
    (path,) = (file.path for file in rendered.files if file.name == name)
    with Image.open(path) as opened:
        pixel = opened.convert("RGB").getpixel((int(opened.width * across), int(opened.height * down)))
    assert isinstance(pixel, tuple)
    return tuple(round(value / 85) for value in pixel)


async def test_first_page_has_the_sizes_of_a_picture(render_pages: RenderPages) -> None:
    rendered = await render_pages(document(shaped((0, 0, 595, 842)), painted(RED), pages=3))
    assert files_of(rendered) == {"w150": (150, 212), "w320": (320, 453), "w640": (640, 906), "w1024": (1024, 1449)}
    assert len(rendered.placeholder) > 10
    assert rendered.dominant_color == "#ffffff"
    for file in rendered.files:
        with Image.open(file.path) as opened:
            assert (opened.format, opened.size) == ("WEBP", (file.width, file.height))
            assert file.bytes == file.path.stat().st_size


async def test_as_many_pages_as_asked_for(render_pages: RenderPages) -> None:
    rendered = await render_pages(document(painted(RED, page=1), pages=3), pages=2)
    assert files_of(rendered)["page-1"] == files_of(rendered)["page-2"] == (1280, 1280)
    assert "page-3" not in files_of(rendered)
    assert color_at(rendered, "page-1", 0.5, 0.5) == (3, 3, 3)
    assert color_at(rendered, "page-2", 0.5, 0.5) == (3, 0, 0)


@pytest.mark.parametrize(
    ("box", "entries", "size"),
    [
        ((0, 0, 200, 400), {"Rotate": 90}, (1024, 512)),
        ((0, 0, 200, 400), {"UserUnit": 75000}, (1024, 2048)),
        ((0, 0, 2e6, 1e6), {}, (1024, 512)),
        ((0, 0, 3, 3), {}, (1024, 1024)),
        ((300, 300, 100, 200), {}, (1024, 512)),
    ],
)
async def test_page_of_any_box_is_drawn_at_the_pixels_that_are_needed(
    box: tuple[float, float, float, float], entries: dict[str, int], size: tuple[int, int], render_pages: RenderPages
) -> None:
    rendered = await render_pages(document(shaped(box, **entries)))
    assert files_of(rendered)["w1024"] == size


async def test_tall_page_stays_within_the_bound_on_pixels(render_pages: RenderPages) -> None:
    rendered = await render_pages(document(shaped((0, 0, 2, 14400))), pages=1)
    width, height = files_of(rendered)["page-1"]
    assert height == WEBP_SIDE
    assert width * height <= PAGE_PIXELS


async def test_rotated_page_is_upright(render_pages: RenderPages) -> None:
    rendered = await render_pages(document(painted(GREEN_TOP), shaped((0, 0, 200, 200), Rotate=90)))
    assert color_at(rendered, "w1024", 0.9, 0.5) == (0, 3, 0)
    assert color_at(rendered, "w1024", 0.1, 0.5) == (3, 3, 3)


async def test_fields_are_drawn_as_browsers_draw_them(render_pages: RenderPages) -> None:
    rendered = await render_pages(document(widget(b"0 0 1")))
    assert color_at(rendered, "w1024", 0.25, 0.75) == (0, 0, 3)
    assert color_at(rendered, "w1024", 0.75, 0.25) == (3, 3, 3)


async def test_document_that_opens_without_a_password_has_pages(render_pages: RenderPages) -> None:
    rendered = await render_pages(document(painted(RED), encryption=Encryption(user="", owner="owner")))
    assert color_at(rendered, "w320", 0.5, 0.5) == (3, 0, 0)


async def test_document_of_five_thousand_pages(render_pages: RenderPages) -> None:
    rendered = await render_pages(document(pages=5000), pages=3)
    assert [name for name in files_of(rendered) if name.startswith("page")] == ["page-1", "page-2", "page-3"]


@pytest.mark.parametrize("content", [b"%PDF-1.7\n", document(encryption=Encryption(user="secret", owner="owner"))])
async def test_document_that_cannot_be_opened_is_refused(content: bytes, render_pages: RenderPages) -> None:
    with pytest.raises(RejectedError) as caught:
        await render_pages(content)
    assert caught.value.code is Code.CORRUPT


async def test_page_that_needs_too_much_memory_is_refused_and_the_next_document_is_not(
    render_pages: RenderPages,
) -> None:
    with pytest.raises(RejectedError) as caught:
        await render_pages(document(bomb(600 * MIB)))
    assert caught.value.code is Code.RESOURCE_LIMIT
    assert files_of(await render_pages(document()))


async def test_page_without_an_end_is_refused_within_the_clock(
    render_pages_with: Callable[[PageRenderer], RenderPages],
) -> None:
    async with PageRenderer(seconds=1.0) as impatient:
        with pytest.raises(RejectedError) as caught:
            await render_pages_with(impatient)(document(endless))
        assert caught.value.code is Code.RESOURCE_LIMIT


async def test_later_page_that_cannot_be_made_is_left_out(
    render_pages_with: Callable[[PageRenderer], RenderPages],
) -> None:
    def change(pdf: object) -> None:
        pages = pdf.pages  # type: ignore[attr-defined] # any Pdf
        endless(pdf)  # type: ignore[arg-type] # the same
        pages.reverse()

    async with PageRenderer(seconds=3.0) as impatient:
        rendered = await render_pages_with(impatient)(document(change, pages=2), pages=2)
    assert "page-1" in files_of(rendered)
    assert "page-2" not in files_of(rendered)
    assert list(rendered.left_out) == [2]


async def test_unforeseen_error_is_tried_again(
    render_pages_with: Callable[[PageRenderer], RenderPages], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderer, "_WORKER", "tests.unit.handlers.image.worker_factories:failing_pages")
    async with PageRenderer() as broken:
        with pytest.raises(RetryableError) as caught:
            await render_pages_with(broken)(document())
    assert caught.value.code is Code.UNFORESEEN


def test_reply_of_a_compromised_child_is_no_reply(tmp_path: Path) -> None:
    whole = {"files": [], "placeholder": "AAAA", "dominant_color": "#ffffff"}
    assert decode_reply(json.dumps(whole)) == RenderedPage((), "AAAA", "#ffffff")
    odd: list[dict[str, object]] = [{"files": {}}, {"placeholder": "<script>"}, {"dominant_color": "red"}]
    odd += [{"files": [{"name": "w150", "width": -1, "height": 1, "bytes": 1}]}]
    for change in odd:
        with pytest.raises((ValueError, KeyError, TypeError)):
            decode_reply(json.dumps(whole | change))
    job = PageJob(str(tmp_path), "out", 3, as_preview=False, as_page=True)
    assert PageJob.decode(job.encode()) == job
