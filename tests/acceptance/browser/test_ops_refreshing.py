"""When the operator's view requests a summary, and when it does not. The test controls the clock."""

import json
from dataclasses import dataclass

import pytest
from playwright.async_api import Route, expect

from tests.acceptance.browser.conftest import TIMEOUT_MS, Visitor
from tests.acceptance.browser.ops_summaries import SUMMARY, failing_summary
from tests.conftest import EmbeddedStack

expect.set_options(timeout=TIMEOUT_MS)


@dataclass(slots=True)
class SummaryStub:
    """Answers the view in place of the API, and counts the requests."""

    requests: int = 0
    busy: bool = False

    async def answer(self, route: Route) -> None:
        self.requests += 1
        if self.busy:
            body = json.dumps({"code": "unavailable"})
            await route.fulfill(status=503, headers={"Retry-After": "40"}, body=body)
        else:
            await route.fulfill(json=json.loads(failing_summary().model_dump_json()))


@pytest.fixture
async def summary_stub(anonymous_visitor: Visitor, stack: EmbeddedStack) -> SummaryStub:
    """Open the view with a clock that the test controls."""
    summary_stub = SummaryStub()
    await anonymous_visitor.page.clock.install()

    async def answer(route: Route) -> None:  # A bound method fails: Playwright sets attributes on its object.
        await summary_stub.answer(route)

    await anonymous_visitor.page.route(SUMMARY, answer)
    await anonymous_visitor.open_operations(stack.token(user="root", role="admin"))
    return summary_stub


async def test_view_refreshes_only_while_the_page_is_visible(
    anonymous_visitor: Visitor, summary_stub: SummaryStub
) -> None:
    assert summary_stub.requests == 1
    await advance_clock(anonymous_visitor, 10_500)
    assert summary_stub.requests == 2
    await show(anonymous_visitor, hidden=True)
    for _ in range(5):
        await advance_clock(anonymous_visitor, 10_500)
    assert summary_stub.requests == 2
    async with anonymous_visitor.page.expect_response(SUMMARY):
        await show(anonymous_visitor, hidden=False)
    assert summary_stub.requests == 3


async def test_view_waits_for_retry_after(anonymous_visitor: Visitor, summary_stub: SummaryStub) -> None:
    summary_stub.busy = True
    await advance_clock(anonymous_visitor, 10_500)
    await expect(anonymous_visitor.page.locator("#outage")).to_contain_text("Next try at")
    requests = summary_stub.requests
    await advance_clock(anonymous_visitor, 38_000)
    assert summary_stub.requests == requests
    summary_stub.busy = False
    async with anonymous_visitor.page.expect_response(SUMMARY):
        await anonymous_visitor.page.clock.run_for(4_000)
    await expect(anonymous_visitor.page.locator("#outage")).to_be_hidden()


async def advance_clock(visitor: Visitor, milliseconds: int) -> None:
    """Advance the page's clock and wait for the responses that this caused."""
    await visitor.page.clock.run_for(milliseconds)
    await visitor.page.evaluate("fetch('/health')")  # It is answered after the earlier requests.
    await visitor.page.clock.run_for(1)


async def show(visitor: Visitor, *, hidden: bool) -> None:
    await visitor.page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )
