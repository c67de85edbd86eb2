"""An expired token: the page asks for a new one, keeps the user, and stays usable if the dialog is dismissed."""

from pathlib import Path

from playwright.async_api import Page, Route, expect

from tests.acceptance.browser.accessibility import serious_violations
from tests.acceptance.browser.conftest import TIMEOUT_MS, File, Visitor
from tests.acceptance.browser.large_files import LARGE_PDF, PARTS, TWO_PARTS, PartGate, interrupted_row
from tests.acceptance.conftest import jpeg
from tests.conftest import EmbeddedStack

expect.set_options(timeout=TIMEOUT_MS)
UNAUTHORIZED = "status of 401"


async def expire_token(page: Page) -> None:
    """Refuse the token that the page holds from now on, and no other."""
    old = await page.evaluate("sessionStorage.getItem('docfliq.token')")

    async def refuse(route: Route) -> None:
        if route.request.headers.get("authorization") == f"Bearer {old}":
            body = '{"code": "unauthorized"}'
            await route.fulfill(status=401, headers={"Content-Type": "application/problem+json"}, body=body)
        else:
            await route.fallback()

    await page.route("**/api/v1/media/**", refuse)


async def test_dismissed_sign_in_dialog_returns_at_the_next_user_action(
    named_visitor: Visitor, stack: EmbeddedStack, owner: str
) -> None:
    page = named_visitor.page
    await page.route("**/dev/token", lambda route: route.fulfill(status=404))
    await expire_token(page)
    await named_visitor.drop(*(File(f"{i}.jpg", "image/jpeg", jpeg(300, 200, i)) for i in range(5)))
    dialog = page.get_by_role("dialog", name="Sign in")
    await expect(dialog).to_contain_text(f"The token of {owner} has run out")
    assert await serious_violations(page) == []
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    for i in range(5):
        await expect(named_visitor.card(f"{i}.jpg").locator(".card-note")).to_contain_text("You are not signed in")
    await page.get_by_label("Status").select_option("ready")
    await expect(dialog).to_be_visible()
    await dialog.get_by_role("button", name="Not now").click()
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    await page.get_by_label("Status").select_option("")
    await dialog.get_by_role("button", name="Not now").click()
    await named_visitor.card("0.jpg").get_by_role("button", name="Send 0.jpg again").click()
    await page.get_by_label("Access token").fill(stack.token(user=owner, role="service"))
    await page.keyboard.press("Enter")
    await expect(named_visitor.card("0.jpg", "ready")).to_be_visible()
    await expect(page.get_by_role("button", name="Sign in")).to_be_hidden()
    named_visitor.expect_console_errors(UNAUTHORIZED, "status of 404")
    assert not named_visitor.console_errors


async def test_user_does_not_change_without_a_click(
    named_visitor: Visitor, stack: EmbeddedStack, owner: str, large_pdf: Path
) -> None:
    page = named_visitor.page
    gate = PartGate(lambda number: number <= 2)
    await gate.attach(page)
    await page.set_input_files("#files", large_pdf)
    await gate.wait_for(stored={1, 2})
    await expire_token(page)
    gate.opened.set()
    dialog = page.get_by_role("dialog", name="Sign in")
    await expect(dialog).to_be_visible()
    await expect(page.locator("#who-name")).to_have_text(f"{owner} · user")
    await expect(dialog.get_by_role("button", name="Change to page")).to_be_visible()
    await page.get_by_label("Access token").fill(stack.token(user=owner, role="service"))
    await page.keyboard.press("Enter")
    await expect(named_visitor.card(LARGE_PDF, "ready")).to_be_visible()
    assert sorted(gate.sent) == list(range(1, PARTS + 1))
    named_visitor.expect_console_errors(UNAUTHORIZED)
    assert not named_visitor.console_errors


async def test_upload_can_be_resumed_after_changing_the_user_and_back(
    named_visitor: Visitor, stack: EmbeddedStack, owner: str, large_pdf: Path
) -> None:
    page = named_visitor.page
    gate = PartGate(lambda number: number <= 2)
    await gate.attach(page)
    await page.set_input_files("#files", large_pdf)
    await gate.wait_for(stored={1, 2})
    await expire_token(page)
    await page.get_by_label("Status").select_option("ready")
    await page.get_by_role("button", name="Change to page").click()
    await expect(page.locator("#who-name")).to_have_text("page · user")
    await expect(interrupted_row(page)).to_have_count(0)
    await expect(named_visitor.card(LARGE_PDF)).to_have_count(0)
    gate.opened.set()
    await page.unroute_all(behavior="ignoreErrors")
    await page.evaluate("token => { location.hash = `token=${token}`; }", stack.token(user=owner))
    await expect(page.locator("#who-name")).to_have_text(f"{owner} · user")
    await expect(interrupted_row(page)).to_contain_text(TWO_PARTS)


async def test_signing_out_ends_in_a_page_without_a_user(named_visitor: Visitor) -> None:
    page = named_visitor.page
    await page.get_by_role("button", name="Sign out").click()
    dialog = page.get_by_role("dialog", name="Sign in")
    await expect(dialog.get_by_role("button", name="Sign in as page")).to_be_visible()  # Not by itself.
    await expect(page.locator("#who")).to_be_hidden()
    assert await page.evaluate("sessionStorage.getItem('docfliq.token')") is None
    await dialog.get_by_role("button", name="Sign in as page").click()
    await expect(page.locator("#who-name")).to_have_text("page · user")


async def test_tab_tells_of_another_user_in_another_tab(named_visitor: Visitor, owner: str) -> None:
    other = Visitor(await named_visitor.page.context.new_page(), named_visitor.url)
    await other.page.goto(other.url)  # The embedded stack signs it in by itself.
    for page, here, there in ((other.page, "page", owner), (named_visitor.page, owner, "page")):
        words = f"Another tab is signed in as {there}. Here you are {here}"
        await expect(page.locator("#other-tab")).to_contain_text(words)
    await other.page.goto("about:blank")
    await expect(named_visitor.page.locator("#other-tab")).to_be_hidden()
