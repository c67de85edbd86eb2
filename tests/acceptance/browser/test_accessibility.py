"""axe finds no serious or critical violation on any page, in its main states, in light and in dark."""

from playwright.async_api import expect

from tests.acceptance.browser.accessibility import serious_violations
from tests.acceptance.browser.conftest import TIMEOUT_MS, File, Visitor
from tests.acceptance.browser.ops_summaries import failing_summary, show_summary
from tests.acceptance.conftest import eicar, jpeg
from tests.conftest import EmbeddedStack

expect.set_options(timeout=TIMEOUT_MS)


async def test_the_front_page(visitor: Visitor) -> None:
    await expect(visitor.page.get_by_text("No files yet")).to_be_visible()
    assert await serious_violations(visitor.page) == []
    await visitor.drop(File("photo.jpg", "image/jpeg", jpeg(600, 400)), File("invoice.jpg", "image/jpeg", eicar()))
    await expect(visitor.card("photo.jpg", "ready").locator("img.is-loaded")).to_be_visible()
    await expect(visitor.card("invoice.jpg", "rejected")).to_be_visible()
    assert await serious_violations(visitor.page) == []
    for name in ("photo.jpg", "invoice.jpg"):
        viewer = await visitor.open(name)
        await expect(viewer.locator(".timeline li").first).to_be_visible()
        assert await serious_violations(visitor.page) == []
        await visitor.page.keyboard.press("Escape")


async def test_the_front_page_asking_for_a_token(anonymous_visitor: Visitor) -> None:
    await anonymous_visitor.page.route("**/dev/token", lambda route: route.fulfill(status=404))
    await anonymous_visitor.page.goto(anonymous_visitor.url)
    await expect(anonymous_visitor.page.get_by_label("Access token")).to_be_visible()
    assert await serious_violations(anonymous_visitor.page) == []


async def test_the_operators_view(operator: Visitor) -> None:
    assert await serious_violations(operator.page) == []
    await show_summary(operator.page, failing_summary())
    await expect(operator.page.locator("#stuck tbody tr")).to_have_count(2)
    assert await serious_violations(operator.page) == []
    await operator.page.set_viewport_size({"width": 390, "height": 844})
    assert await serious_violations(operator.page) == []
    await operator.page.get_by_role("button", name="Redrive all").click()
    await expect(operator.page.get_by_role("button", name="Keep them")).to_be_visible()
    assert await serious_violations(operator.page) == []


async def test_the_operators_view_refusing_somebody(anonymous_visitor: Visitor, stack: EmbeddedStack) -> None:
    await anonymous_visitor.page.goto(f"{anonymous_visitor.url}/ops#token={stack.token()}")
    await expect(anonymous_visitor.page.get_by_role("alert")).to_be_visible()
    assert await serious_violations(anonymous_visitor.page) == []


async def test_the_api_reference(anonymous_visitor: Visitor) -> None:
    await anonymous_visitor.page.goto(f"{anonymous_visitor.url}/docs")
    assert await serious_violations(anonymous_visitor.page) == []
    await anonymous_visitor.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert await serious_violations(anonymous_visitor.page) == []
