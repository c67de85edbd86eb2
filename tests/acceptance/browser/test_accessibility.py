"""axe on every page and in its states, light and dark: nothing serious, nothing critical."""

from playwright.async_api import expect

from tests.acceptance.browser.accessibility import grave_findings
from tests.acceptance.browser.conftest import PATIENCE, File, Visitor
from tests.acceptance.browser.operations import fulfilled, troubled
from tests.acceptance.conftest import eicar, jpeg
from tests.conftest import EmbeddedStack

expect.set_options(timeout=PATIENCE)


async def test_the_front_page(visitor: Visitor) -> None:
    await expect(visitor.page.get_by_text("No files yet")).to_be_visible()
    assert await grave_findings(visitor.page) == []
    await visitor.drop(File("photo.jpg", "image/jpeg", jpeg(600, 400)), File("invoice.jpg", "image/jpeg", eicar()))
    await expect(visitor.card("photo.jpg", "ready").locator("img.is-loaded")).to_be_visible()
    await expect(visitor.card("invoice.jpg", "rejected")).to_be_visible()
    assert await grave_findings(visitor.page) == []
    for name in ("photo.jpg", "invoice.jpg"):
        viewer = await visitor.open(name)
        await expect(viewer.locator(".timeline li").first).to_be_visible()
        assert await grave_findings(visitor.page) == []
        await visitor.page.keyboard.press("Escape")


async def test_the_front_page_asking_for_a_token(stranger: Visitor) -> None:
    await stranger.page.route("**/dev/token", lambda route: route.fulfill(status=404))
    await stranger.page.goto(stranger.url)
    await expect(stranger.page.get_by_label("Access token")).to_be_visible()
    assert await grave_findings(stranger.page) == []


async def test_the_operators_view(operator: Visitor) -> None:
    assert await grave_findings(operator.page) == []
    await fulfilled(operator.page, troubled())
    await expect(operator.page.locator("#stuck tbody tr")).to_have_count(2)
    assert await grave_findings(operator.page) == []
    await operator.page.set_viewport_size({"width": 390, "height": 844})
    assert await grave_findings(operator.page) == []
    await operator.page.get_by_role("button", name="Redrive all").click()
    await expect(operator.page.get_by_role("button", name="Keep them")).to_be_visible()
    assert await grave_findings(operator.page) == []


async def test_the_operators_view_refusing_somebody(stranger: Visitor, stack: EmbeddedStack) -> None:
    await stranger.page.goto(f"{stranger.url}/ops#token={stack.token()}")
    await expect(stranger.page.get_by_role("alert")).to_be_visible()
    assert await grave_findings(stranger.page) == []


async def test_the_api_reference(stranger: Visitor) -> None:
    await stranger.page.goto(f"{stranger.url}/docs")
    assert await grave_findings(stranger.page) == []
    await stranger.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert await grave_findings(stranger.page) == []
