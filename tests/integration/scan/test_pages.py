"""Pages of documents in the embedded stack: from the upload to the URL of a picture."""

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pikepdf
import pytest
from pikepdf import Encryption, Pdf
from PIL import Image

from tests.conftest import EmbeddedStack
from tests.integration.scan.users import User, user_of
from tests.unit.handlers.image.documents.pages import endless, painted, shaped
from tests.unit.handlers.scan.documents.samples import document, opening, script, signed

RED = b"1 0 0 rg 0 0 200 200 re f"
PREVIEWS = {"w150", "w320", "w640", "w1024"}


@pytest.fixture
async def user(stack: EmbeddedStack) -> AsyncIterator[User]:
    async with user_of(stack) as made:
        yield made


async def send(user: User, content: bytes) -> tuple[Any, Any]:
    """Upload a document; return its slot, and the asset once it has ended."""
    slot = await user.upload("document", "application/pdf", content)
    return slot, await user.end(slot)


def named(pdf: Pdf) -> None:
    pdf.trailer.Info = pdf.make_indirect(
        pikepdf.Dictionary(
            Title="Befund März\n", Author="Dr. House", CreationDate="D:20240102030405+01'00'", ModDate="?"
        )
    )


async def test_pages_of_a_document_are_handed_out_by_its_delivery(user: User) -> None:
    slot, ended = await send(user, document(named, painted(RED), pages=3))
    assert (ended["status"], ended["page_count"], ended["notes"]) == ("ready", 3, [])
    assert {rendition["name"] for rendition in ended["renditions"]} == PREVIEWS | {"page-1", "page-2", "original"}
    assert ended["document_info"] == {
        "title": "Befund März",
        "author": "Dr. House",
        "created": "2024-01-02T02:04:05Z",
        "modified": None,
    }
    assert ended["placeholder"]
    assert ended["dominant_color"].startswith("#f")
    sizes = {"w640": (640, 640), "page-1": (1280, 1280), "page-2": (1280, 1280)}
    for name, size in sizes.items():
        content, headers = await user.fetch(slot, name)
        assert headers["Content-Type"] == "image/webp"
        assert "Content-Disposition" not in headers
        assert headers["Cache-Control"] == "private, max-age=7200"
        with Image.open(BytesIO(content)) as picture:
            assert picture.size == size
    default = await user.get(slot, "/url")
    assert default["rendition"] == "original"
    assert f"/processed/document/scanned/{slot['asset_id']}/scan-1/" in default["url"]
    await user.noted(slot, "rendered")


async def test_what_was_rewritten_is_what_is_drawn(user: User) -> None:
    _, ended = await send(user, document(opening(script()), painted(RED)))
    assert [note["code"] for note in ended["notes"]] == ["actions_removed"]
    assert {rendition["name"] for rendition in ended["renditions"]} == PREVIEWS | {"page-1", "original"}


@pytest.mark.parametrize(
    "content",
    [
        document(painted(RED), encryption=Encryption(user="", owner="owner")),
        document(signed, painted(RED)),
        document(pages=5000),
        document(shaped((0, 0, 1, 14400))),
    ],
    ids=["encrypted", "signed", "5,000 pages", "tall"],
)
async def test_odd_document_has_pages(content: bytes, user: User) -> None:
    _, ended = await send(user, content)
    assert (ended["status"], ended["notes"]) == ("ready", [])
    assert {"w150", "page-1", "original"} <= {rendition["name"] for rendition in ended["renditions"]}


async def test_document_whose_page_has_no_end_is_ready_without_a_preview(user: User) -> None:
    slot, ended = await send(user, document(endless))
    assert ended["status"] == "ready"
    assert ended["notes"] == [{"code": "no_preview", "detail": "No picture of its pages could be made"}]
    assert [rendition["name"] for rendition in ended["renditions"]] == ["original"]
    assert (await user.fetch(slot))[0].startswith(b"%PDF-")
    await user.noted(slot, "no_preview")
