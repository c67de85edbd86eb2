"""Unusual file names: shortened, cleaned, or refused with advice."""

import json

import pytest
from playwright.async_api import expect

from tests.acceptance.browser.conftest import TIMEOUT_MS, File, Visitor
from tests.acceptance.conftest import jpeg

expect.set_options(timeout=TIMEOUT_MS)
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467.jpg"


async def test_invisible_name_is_refused_with_advice(visitor: Visitor) -> None:
    await visitor.drop(File("\u200b\u200d\ufeff", "image/jpeg", jpeg(300, 200)))
    await expect(visitor.page.locator(".card-note")).to_contain_text("Rename it, then send it again")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("x" * 10_000 + ".jpeg", "x" * 250 + ".jpeg"),
        (FAMILY, FAMILY),
        ("\u202egpj.exe\u200b.jpg", "gpj.exe.jpg"),
    ],
    ids=["long", "family", "turned"],
)
async def test_a_name_is_shown_as_the_service_has_it(visitor: Visitor, name: str, shown: str) -> None:
    async with visitor.page.expect_request("**/api/v1/media/upload") as upload:
        await visitor.drop(File(name, "image/jpeg", jpeg(300, 200)))
    assert json.loads((await upload.value).post_data or "")["original_filename"] == shown
    await expect(visitor.card(shown, "ready")).to_be_visible()
    await expect(visitor.page.locator(".card")).to_have_count(1)


async def test_the_same_name_twice_in_one_drop_makes_two_cards(visitor: Visitor) -> None:
    same = [File("same.jpg", "image/jpeg", jpeg(300, 200, i)) for i in range(2)]
    await visitor.drop(*same)
    await visitor.drop(same[0])
    await expect(visitor.card("same.jpg", "ready")).to_have_count(3)
    await expect(visitor.page.locator(".card")).to_have_count(3)
