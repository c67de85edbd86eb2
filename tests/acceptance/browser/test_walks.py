"""The page in the surroundings of its users: keyboard, screen reader, small and magnified screens, other directions,
colors and speeds. axe looks at each.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.acceptance.browser.accessibility import serious_violations
from tests.acceptance.browser.conftest import TIMEOUT_MS
from tests.acceptance.browser.library import ARABIC, NAMES, Library, send_pictures
from tests.conftest import EmbeddedStack

expect.set_options(timeout=TIMEOUT_MS)
KNEE = NAMES[-1]
OVERFLOWING = """() => [...document.querySelectorAll('body *')].filter((element) => {
    const { left, right, width } = element.getBoundingClientRect();
    const isHidden = element.closest('.sr, .skip, .sprite, dialog:not([open])');
    return !isHidden && width > 1 && (right > innerWidth + 1 || left < -1);
}).map((element) => element.outerHTML.slice(0, 80))"""
"""Lists what stands out of the screen on either side."""
FOCUSED = """() => {
    const { activeElement: element } = document;
    return element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent.trim() ?? element.textContent.trim();
}"""
HIGHLIGHT = """() => {
    const probe = document.body.appendChild(document.createElement('i'));
    probe.style.forcedColorAdjust = 'none';
    probe.style.backgroundColor = 'Highlight';
    const color = getComputedStyle(probe).backgroundColor;
    probe.remove();
    return color;
}"""
"""Returns the color in which the system shows what is chosen."""
SLOW = {"offline": False, "latency": 300, "downloadThroughput": 60_000, "uploadThroughput": 60_000}
"""A bad mobile network: milliseconds, and bytes a second."""


@pytest.fixture(scope="module")
async def library(chromium: Browser, stack: EmbeddedStack) -> Library:
    return await send_pictures(chromium, stack)


async def walk_and_check(page: Page) -> None:
    """Choose a file in the list, then open it: neither is wider than the screen or offends against axe."""
    await page.get_by_role("radio", name="List").check(force=True)
    await page.get_by_role("button", name="Select", exact=True).click()
    await page.locator(".card-check").first.click()
    await expect(page.locator("#selected-count")).to_have_text("1 selected")
    assert await page.evaluate(OVERFLOWING) == []
    assert await serious_violations(page, "light") == []
    await page.get_by_role("button", name="Done").click()
    await page.locator(".card-open").first.click()
    await expect(page.locator("#viewer img.picture")).to_have_js_property("complete", value=True)
    assert await page.evaluate(OVERFLOWING) == []
    assert await serious_violations(page, "light") == []
    await page.keyboard.press("Escape")


@pytest.mark.parametrize(
    "surroundings",
    [
        pytest.param({"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}, id="phone"),
        # At 200 % a screen of 1280 pixels holds 640 of CSS.
        pytest.param({"viewport": {"width": 640, "height": 360}, "device_scale_factor": 2}, id="zoom"),
    ],
)
async def test_small_and_magnified_screens(library: Library, surroundings: dict[str, Any]) -> None:
    async with library.visited(**surroundings) as visitor:
        await walk_and_check(visitor.page)


async def test_page_that_reads_from_right_to_left(library: Library) -> None:
    async with library.visited(viewport={"width": 390, "height": 800}) as visitor:
        await visitor.page.evaluate("document.dir = 'rtl'")
        await walk_and_check(visitor.page)
        await visitor.open(KNEE)
        await visitor.page.keyboard.press("ArrowLeft")  # towards the end of the row
        await expect(visitor.page.locator("#viewer").get_by_role("heading", name=ARABIC)).to_be_visible()


async def test_colors_of_the_system_show_what_is_chosen(library: Library) -> None:
    async with library.visited(forced_colors="active") as visitor:
        await visitor.page.get_by_role("radio", name="Images").check(force=True)
        chosen = visitor.page.locator("#filters .segments input:checked + span")
        await expect(chosen).to_have_css("background-color", await visitor.page.evaluate(HIGHLIGHT))
        await expect(visitor.page.locator("#grid[aria-busy=false]")).to_be_attached()
        await walk_and_check(visitor.page)


async def test_nothing_moves_for_those_who_asked_for_rest(library: Library) -> None:
    async with library.visited(reduced_motion="reduce") as visitor:
        await visitor.page.route("**/api/v1/media/assets?*", lambda _route: None)  # It goes on loading.
        await visitor.page.reload()
        await expect(visitor.page.locator(".skeleton").first).to_be_visible()
        assert await visitor.page.evaluate("document.getAnimations().length") == 0
        await visitor.page.unroute_all(behavior="ignoreErrors")
        await visitor.page.reload()
        await walk_and_check(visitor.page)
        assert await visitor.page.evaluate("document.getAnimations().length") == 0


async def test_slow_network_shows_the_page_before_the_files(library: Library) -> None:
    async with slow_page(library) as page:
        await expect(page.get_by_role("button", name="Choose files")).to_be_visible()
        await expect(page.locator(".skeleton")).to_have_count(4)
        await expect(page.locator(".card:not(.skeleton)")).to_have_count(len(NAMES))
        await walk_and_check(page)


@asynccontextmanager
async def slow_page(library: Library) -> AsyncIterator[Page]:
    """Open the gallery over a slow network. The yielded page has only begun to load."""
    async with library.visited() as visitor:
        page = await visitor.page.context.new_page()
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("Network.enable")
        await devtools.send("Network.emulateNetworkConditions", SLOW)
        await page.goto(f"{visitor.url}/#token={library.token}", wait_until="commit")
        yield page


async def test_keyboard_reaches_everything_in_the_order_of_the_screen(library: Library) -> None:
    async with library.visited() as visitor:
        page = visitor.page
        reached: list[str] = []
        await page.evaluate("document.activeElement.blur()")
        while not reached or "Delete" not in reached[-1]:
            await page.keyboard.press("Tab")
            reached.append(str(await page.evaluate(FOCUSED)))
        assert reached == [
            "Skip to the files",
            "Docfliq Media",
            "Sign out",
            "Which formats",
            "Choose files",
            "Grid",
            "Select",
            "Search by name",
            "All",
            reached[9],
            reached[10],
            f"{KNEE}, Image, Ready",
            f"Copy a link to {KNEE}",
            f"Download {KNEE}",
            f"Delete {KNEE}",
        ]
        assert (reached[9][:6], reached[10][:5]) == ("Status", "Order")
        assert await serious_violations(page, "light") == [], "while a card has the focus"
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Enter")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#viewer").get_by_role("heading", name=ARABIC)).to_be_visible()
        assert await serious_violations(page, "light") == []
        await page.keyboard.press("Escape")
        await expect(visitor.card(ARABIC).locator(".card-open")).to_be_focused()
        outline = await page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert outline >= 2


async def test_screen_reader_hears_landmarks_headings_and_states(library: Library) -> None:
    async with library.visited() as visitor:
        heard = await visitor.page.locator("body").aria_snapshot()
        for line in (
            "- banner:",
            '- heading "Upload media" [level=1]',
            '- heading "Your files" [level=2]',
            f"- status: {len(NAMES)} files",
            '- search "Files":',
            '- searchbox "Search by name"',
            '- group "Type":',
            '- radio "All" [checked]',
            '- combobox "Order"',
            "- list:",
            f'- button "{KNEE}, Image, Ready"',
            f'- heading "{KNEE}" [level=3]',
            f'- button "Delete {KNEE}"',
            "- contentinfo:",
        ):
            assert line in heard, heard
        await visitor.page.get_by_role("searchbox").fill("no such file")
        await expect(visitor.page.get_by_text("Nothing matches")).to_be_visible()
        assert await serious_violations(visitor.page, "light") == []
