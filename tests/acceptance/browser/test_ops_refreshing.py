"""When the operator's view asks, and when it leaves the API alone. The test turns the clock."""

import json
from dataclasses import dataclass

import pytest
from playwright.async_api import Route, expect

from tests.acceptance.browser.conftest import PATIENCE, Visitor
from tests.acceptance.browser.operations import SUMMARY, troubled
from tests.conftest import EmbeddedStack

expect.set_options(timeout=PATIENCE)


@dataclass(slots=True)
class Desk:
    """Answers the view in the API's place, and counts how often it is asked."""

    asked: int = 0
    busy: bool = False

    async def answer(self, route: Route) -> None:
        self.asked += 1
        if self.busy:
            body = json.dumps({"code": "unavailable"})
            await route.fulfill(status=503, headers={"Retry-After": "40"}, body=body)
        else:
            await route.fulfill(json=json.loads(troubled().model_dump_json()))


@pytest.fixture
async def desk(stranger: Visitor, stack: EmbeddedStack) -> Desk:
    """An open view whose clock the test turns."""
    desk = Desk()
    await stranger.page.clock.install()

    async def answer(route: Route) -> None:  # no bound method: Playwright writes on the object that it belongs to
        await desk.answer(route)

    await stranger.page.route(SUMMARY, answer)
    await stranger.operate(stack.token(user="root", role="admin"))
    return desk


async def test_it_refreshes_itself_but_not_while_nobody_looks(stranger: Visitor, desk: Desk) -> None:
    assert desk.asked == 1
    await ticked(stranger, 10_500)
    assert desk.asked == 2
    await show(stranger, hidden=True)
    for _ in range(5):
        await ticked(stranger, 10_500)
    assert desk.asked == 2
    async with stranger.page.expect_response(SUMMARY):
        await show(stranger, hidden=False)
    assert desk.asked == 3


async def test_it_waits_as_long_as_it_is_asked_to(stranger: Visitor, desk: Desk) -> None:
    desk.busy = True
    await ticked(stranger, 10_500)
    await expect(stranger.page.locator("#outage")).to_contain_text("Next try at")
    asked = desk.asked
    await ticked(stranger, 38_000)
    assert desk.asked == asked
    desk.busy = False
    async with stranger.page.expect_response(SUMMARY):
        await stranger.page.clock.run_for(4_000)
    await expect(stranger.page.locator("#outage")).to_be_hidden()


async def ticked(visitor: Visitor, milliseconds: int) -> None:
    """Time goes by, and whatever that made the page ask for was answered."""
    await visitor.page.clock.run_for(milliseconds)
    await visitor.page.evaluate("fetch('/health')")  # comes after what was asked for before it
    await visitor.page.clock.run_for(1)


async def show(visitor: Visitor, *, hidden: bool) -> None:
    await visitor.page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )
