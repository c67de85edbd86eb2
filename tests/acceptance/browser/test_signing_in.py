"""A token that runs out: asked for again, never taken from somebody else, and no dead page when nobody answers."""

from pathlib import Path

from playwright.async_api import Page, Route, expect

from tests.acceptance.browser.accessibility import grave_findings
from tests.acceptance.browser.conftest import PATIENCE, File, Visitor
from tests.acceptance.browser.large_files import ATLAS, PARTS, TWO_PARTS, Gate, row
from tests.acceptance.conftest import jpeg
from tests.conftest import EmbeddedStack

expect.set_options(timeout=PATIENCE)
UNAUTHORIZED = "status of 401"


async def let_it_run_out(page: Page) -> None:
    """From now on the API refuses the token that the page holds, and no other."""
    old = await page.evaluate("sessionStorage.getItem('docfliq.token')")

    async def refuse(route: Route) -> None:
        if route.request.headers.get("authorization") == f"Bearer {old}":
            body = '{"code": "unauthorized"}'
            await route.fulfill(status=401, headers={"Content-Type": "application/problem+json"}, body=body)
        else:
            await route.fallback()

    await page.route("**/api/v1/media/**", refuse)


async def test_a_question_sent_away_comes_back_when_it_is_wanted(
    reader: Visitor, stack: EmbeddedStack, owner: str
) -> None:
    page = reader.page
    await page.route("**/dev/token", lambda route: route.fulfill(status=404))
    await let_it_run_out(page)
    await reader.drop(*(File(f"{i}.jpg", "image/jpeg", jpeg(300, 200, i)) for i in range(5)))
    dialog = page.get_by_role("dialog", name="Sign in")
    await expect(dialog).to_contain_text(f"The token of {owner} has run out")
    assert await grave_findings(page) == []
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    for i in range(5):
        await expect(reader.card(f"{i}.jpg").locator(".card-note")).to_contain_text("You are not signed in")
    await page.get_by_label("Status").select_option("ready")
    await expect(dialog).to_be_visible()
    await dialog.get_by_role("button", name="Not now").click()
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    await page.get_by_label("Status").select_option("")
    await dialog.get_by_role("button", name="Not now").click()
    await reader.card("0.jpg").get_by_role("button", name="Send 0.jpg again").click()
    await page.get_by_label("Access token").fill(stack.token(user=owner, role="service"))
    await page.keyboard.press("Enter")
    await expect(reader.card("0.jpg", "ready")).to_be_visible()
    await expect(page.get_by_role("button", name="Sign in")).to_be_hidden()
    reader.forgive(UNAUTHORIZED, "status of 404")
    assert not reader.complaints


async def test_nobody_becomes_another_user_unasked(
    reader: Visitor, stack: EmbeddedStack, owner: str, atlas: Path
) -> None:
    page = reader.page
    gate = Gate(lambda number: number <= 2)
    await gate.stand_before(page)
    await page.set_input_files("#files", atlas)
    await gate.wait_for(stored={1, 2})
    await let_it_run_out(page)
    gate.opened.set()
    dialog = page.get_by_role("dialog", name="Sign in")
    await expect(dialog).to_be_visible()
    await expect(page.locator("#who-name")).to_have_text(f"{owner} · user")
    await expect(dialog.get_by_role("button", name="Change to page")).to_be_visible()
    await page.get_by_label("Access token").fill(stack.token(user=owner, role="service"))
    await page.keyboard.press("Enter")
    await expect(reader.card(ATLAS, "ready")).to_be_visible()
    assert sorted(gate.sent) == list(range(1, PARTS + 1))
    reader.forgive(UNAUTHORIZED)
    assert not reader.complaints


async def test_who_changes_the_user_finds_the_upload_again(
    reader: Visitor, stack: EmbeddedStack, owner: str, atlas: Path
) -> None:
    page = reader.page
    gate = Gate(lambda number: number <= 2)
    await gate.stand_before(page)
    await page.set_input_files("#files", atlas)
    await gate.wait_for(stored={1, 2})
    await let_it_run_out(page)
    await page.get_by_label("Status").select_option("ready")
    await page.get_by_role("button", name="Change to page").click()
    await expect(page.locator("#who-name")).to_have_text("page · user")
    await expect(row(page)).to_have_count(0)
    await expect(reader.card(ATLAS)).to_have_count(0)
    gate.opened.set()
    await page.unroute_all(behavior="ignoreErrors")
    await page.evaluate("token => { location.hash = `token=${token}`; }", stack.token(user=owner))
    await expect(page.locator("#who-name")).to_have_text(f"{owner} · user")
    await expect(row(page)).to_contain_text(TWO_PARTS)
