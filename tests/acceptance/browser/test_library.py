"""The files are found, ordered, chosen, leafed through and saved; a name keeps its ends, and the keyboard its place."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.acceptance.browser.conftest import TIMEOUT_MS, File, Visitor
from tests.acceptance.browser.library import ARABIC, NAMES, Library, send_pictures
from tests.acceptance.conftest import jpeg
from tests.conftest import EmbeddedStack

expect.set_options(timeout=TIMEOUT_MS)
FIRST, SECOND, _, KNEE = NAMES
IS_WHOLE = """element => {
    const range = document.createRange();
    range.selectNodeContents(element);
    return range.getBoundingClientRect().width <= element.getBoundingClientRect().width + 0.01;
}"""
"""Tells whether all of a text has room. An ellipsis appears for the fraction of a pixel."""


@pytest.fixture(scope="module")
async def library(chromium: Browser, stack: EmbeddedStack) -> Library:
    return await send_pictures(chromium, stack)


@pytest.fixture
async def reader(library: Library) -> AsyncIterator[Visitor]:
    """Return somebody who looks at the library, and may copy links."""
    async with library.visited(permissions=["clipboard-read", "clipboard-write"]) as visitor:
        yield visitor


async def expect_names(page: Page, *names: str) -> None:
    await expect(page.locator(".card .card-name")).to_have_text(list(names))


async def test_files_are_searched_by_the_words_of_their_names(reader: Visitor) -> None:
    search = reader.page.get_by_role("searchbox", name="Search by name")
    await search.fill("ZURICH 9")
    await expect_names(reader.page, SECOND)
    await search.fill("الطوارئ")
    await expect_names(reader.page, ARABIC)
    await search.fill("hip")
    await reader.page.get_by_role("button", name="Show all files").click()
    await expect(reader.page.locator(".card")).to_have_count(len(NAMES))
    await expect(search).to_have_value("")


async def test_files_are_ordered_and_the_order_reaches_beyond_the_first_page(reader: Visitor) -> None:
    pages: list[str] = []

    async def shorten(route: Route) -> None:
        pages.append(route.request.url)
        await route.continue_(url=re.sub(r"limit=\d+", "limit=2", route.request.url))

    await reader.page.route("**/api/v1/media/assets?*", shorten)
    await reader.page.reload()
    await expect_names(reader.page, KNEE, ARABIC)
    await expect(reader.page.locator("#count")).to_have_text("2 of 4 files")
    more = reader.page.get_by_role("button", name="Show more")
    order = reader.page.get_by_label("Order")
    await order.select_option("name")
    await expect_names(reader.page, KNEE, SECOND, FIRST, ARABIC)
    assert len(pages) > 2
    await order.select_option("size")
    await expect(reader.page.locator(".card .card-name").last).to_have_text(FIRST)
    await order.select_option("oldest")  # the service's own order, as far as it is shown
    await expect_names(reader.page, FIRST, SECOND)
    await more.click()
    await expect_names(reader.page, *NAMES)
    await expect(reader.page.locator("#count")).to_have_text("4 files")


async def test_list_view_is_kept(reader: Visitor) -> None:
    await reader.page.get_by_role("radio", name="List").check(force=True)  # The label's picture covers the input.
    await reader.page.reload()
    await expect(reader.page.locator("#grid.is-list .card")).to_have_count(len(NAMES))


async def test_arabic_name_keeps_its_ends_and_turns_no_word_beside_it(reader: Visitor) -> None:
    await reader.page.set_viewport_size({"width": 320, "height": 700})
    card = reader.card(ARABIC)
    ends = card.locator(".card-name span")
    await expect(ends).to_have_text([ARABIC.removesuffix("2026-03-14.jpg"), "2026-03-14.jpg"])
    assert await ends.first.evaluate("start => start.scrollWidth > start.clientWidth"), "nothing was cut"
    assert await ends.last.evaluate(IS_WHOLE), "the end was cut"
    isolated = f"\u2068{ARABIC}\u2069"
    await card.get_by_role("button", name=f"Delete {isolated}").click()
    await expect(reader.page.get_by_role("dialog")).to_contain_text(f"{isolated} and everything made of it")
    await reader.page.keyboard.press("Escape")


async def test_viewer_steps_through_the_files_and_returns_to_the_last_one(reader: Visitor) -> None:
    viewer, page = reader.page.locator("#viewer"), reader.page
    await reader.open(KNEE)
    await expect(viewer.get_by_role("button", name="Previous file")).to_be_disabled()
    await page.keyboard.press("ArrowRight")
    await expect(viewer.get_by_role("heading", name=ARABIC)).to_be_visible()
    await expect(viewer.locator("[data-part=place]")).to_have_text(f"2 of {len(NAMES)}")
    for _ in range(2):
        await viewer.get_by_role("button", name="Next file").click()
    await expect(viewer.get_by_role("heading", name=FIRST)).to_be_visible()
    await expect(viewer.get_by_role("button", name="Close")).to_be_focused()  # The last file has no next one.
    await expect(viewer.locator("img.picture")).to_have_js_property("complete", value=True)
    await page.keyboard.press("Escape")
    await expect(reader.card(FIRST).locator(".card-open")).to_be_focused()


async def test_file_is_saved_as_it_was_sent(reader: Visitor, tmp_path: Path) -> None:
    async with reader.page.expect_download() as saving:
        await reader.card(KNEE).get_by_role("button", name=f"Download {KNEE}").click()
    saved = await saving.value
    assert saved.suggested_filename == KNEE
    await saved.save_as(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == jpeg(600, 200, 3)


async def test_several_files_are_chosen(reader: Visitor) -> None:
    page = reader.page
    await page.get_by_role("button", name="Select", exact=True).click()
    await page.get_by_role("checkbox", name=f"Select {FIRST}").check()
    await reader.card(SECOND).locator(".card-open").click()  # A card is large, a check box is small.
    await expect(page.locator("#selected-count")).to_have_text("2 selected")
    await page.get_by_role("button", name="Copy links").click()
    await expect(page.get_by_role("status").filter(has_text="2 links copied.")).to_be_visible()
    assert len((await page.evaluate("navigator.clipboard.readText()")).split("\n")) == 2
    await page.keyboard.press("Escape")
    await expect(page.locator("#selection")).to_be_hidden()
    await expect(page.get_by_role("button", name="Select", exact=True)).to_be_focused()


async def test_all_files_but_one_are_deleted_at_once(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.drop(*(File(f"{i}.jpg", "image/jpeg", b"not a picture") for i in range(3)))
    await expect(page.locator(".card[data-status=rejected]")).to_have_count(3)
    await page.get_by_role("button", name="Select", exact=True).click()
    await page.get_by_role("button", name="All", exact=True).click()
    await page.get_by_role("checkbox", name="Select 1.jpg").uncheck()
    await page.locator("#selection").get_by_role("button", name="Delete").click()
    question = page.get_by_role("dialog", name="Delete 2 files?")
    await question.get_by_role("button", name="Delete").click()
    await expect_names(page, "1.jpg")
    await page.reload()
    await expect_names(page, "1.jpg")


async def test_focus_stays_on_its_card_while_the_files_are_loaded_again(library: Library, reader: Visitor) -> None:
    button = reader.card(KNEE).get_by_role("button", name=f"Delete {KNEE}")
    await button.focus()
    async with reader.page.expect_response("**/api/v1/media/assets?*"):
        await reader.page.evaluate("token => { location.hash = `token=${token}`; }", library.token)
    await expect(reader.page.locator("#grid[aria-busy=false]")).to_be_attached()
    await expect(button).to_be_focused()


async def test_focus_moves_to_the_card_that_takes_the_place_of_another(visitor: Visitor) -> None:
    """The live event of an asset may come before the answer that names it. Then two cards become one."""
    released = asyncio.Event()

    async def hold(route: Route) -> None:
        # Under another name, the page does not know the event as that of its own file.
        body = json.loads(route.request.post_data or "") | {"original_filename": "early.jpg"}
        answer = await route.fetch(post_data=json.dumps(body))
        await released.wait()
        await route.fulfill(response=answer)

    await visitor.page.route("**/api/v1/media/upload", hold)
    await visitor.drop(File("photo.jpg", "image/jpeg", jpeg(300, 200)))
    await visitor.card("early.jpg").locator(".card-open").focus()
    released.set()
    await expect(visitor.card("photo.jpg")).to_have_count(0)
    await expect(visitor.page.locator(".card :focus")).to_have_count(1)
    await expect(visitor.card("early.jpg", "ready")).to_be_visible()
