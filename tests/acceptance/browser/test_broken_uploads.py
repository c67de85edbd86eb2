"""Uploads over lines that break and to services that ask for patience: paused, tried again, waited for."""

import time
from pathlib import Path

import pytest
from playwright.async_api import Request, Route, expect

from tests.acceptance.browser.accessibility import grave_findings
from tests.acceptance.browser.conftest import PATIENCE, File, Visitor
from tests.acceptance.browser.large_files import ATLAS, PARTS, TWO_PARTS, Gate
from tests.acceptance.conftest import jpeg

expect.set_options(timeout=PATIENCE)
RETRY_AFTER = 3


async def test_a_lost_connection_is_a_pause(reader: Visitor, atlas: Path) -> None:
    gate = Gate(lambda number: number <= 2)
    await gate.stand_before(reader.page)
    await reader.page.set_input_files("#files", atlas)
    await gate.wait_for(stored={1, 2})
    await reader.page.context.set_offline(offline=True)
    gate.opened.set()  # the parts at the door now meet a line that is dead
    chip = reader.card(ATLAS).locator(".chip")
    await expect(chip).to_have_text(f"No connection, paused at {TWO_PARTS}")
    assert await grave_findings(reader.page) == []
    await reader.page.context.set_offline(offline=False)
    await expect(reader.card(ATLAS, "ready")).to_be_visible()
    assert gate.stored == set(range(1, PARTS + 1))
    assert sorted(set(gate.sent) - {3, 4, 5}) == [1, 2, 6]
    assert (gate.sent.count(1), gate.sent.count(2)) == (1, 1)
    reader.forgive("net::ERR_INTERNET_DISCONNECTED")
    assert not reader.complaints


async def test_what_breaks_off_is_gone_on_with(reader: Visitor, atlas: Path) -> None:
    refused = {"Access-Control-Allow-Origin": reader.url}
    await reader.page.route("**/*partNumber=3&*", lambda route: route.fulfill(status=400, headers=refused))
    await reader.page.set_input_files("#files", atlas)
    card = reader.card(ATLAS)
    await expect(card.locator(".card-note")).to_contain_text("What has arrived is kept")
    await expect(reader.page.get_by_role("alert")).to_contain_text(f"{ATLAS}: The upload broke off")
    await reader.page.unroute_all(behavior="ignoreErrors")
    gate = Gate()
    await gate.stand_before(reader.page)
    await card.get_by_role("button", name=f"Go on with {ATLAS}").click()
    await expect(reader.card(ATLAS, "ready")).to_be_visible()
    assert 3 in gate.sent
    assert not {1, 2} & set(gate.sent)  # they were on their way when the third failed, and arrived
    reader.forgive("status of 400")
    assert not reader.complaints


async def test_a_put_that_breaks_is_tried_again(reader: Visitor) -> None:
    tries: list[str] = []

    async def break_once(route: Route) -> None:
        tries.append(route.request.url)
        await (route.abort("connectionreset") if len(tries) == 1 else route.continue_())

    await reader.page.route("**/uploads/image/**", break_once)
    await reader.drop(File("photo.jpg", "image/jpeg", jpeg(300, 200)))
    await expect(reader.card("photo.jpg", "ready")).to_be_visible()
    assert len(tries) == 2
    reader.forgive("net::ERR_CONNECTION_RESET")
    assert not reader.complaints


@pytest.mark.parametrize("status", [429, 503])
async def test_it_waits_as_long_as_it_is_told(reader: Visitor, status: int) -> None:
    asked: list[tuple[float, str | None]] = []

    async def refuse_once(route: Route, request: Request) -> None:
        asked.append((time.monotonic(), await request.header_value("Idempotency-Key")))
        if len(asked) == 1:
            body = '{"code": "rate_limited"}'
            headers = {"Retry-After": str(RETRY_AFTER), "Content-Type": "application/problem+json"}
            await route.fulfill(status=status, headers=headers, body=body)
        else:
            await route.continue_()

    await reader.page.route("**/api/v1/media/upload", refuse_once)
    await reader.drop(File("photo.jpg", "image/jpeg", jpeg(300, 200)))
    told = reader.page.get_by_role("status").filter(has_text="The service asks for a short break")
    await expect(told).to_contain_text("It goes on by itself in 3 s")
    await expect(reader.card("photo.jpg", "ready")).to_be_visible()
    await expect(told).to_have_count(0)
    (first, key), (second, same_key) = asked
    assert second - first >= RETRY_AFTER
    assert key == same_key
    await expect(reader.page.get_by_role("alert")).to_have_count(0)
    reader.forgive(f"status of {status}")
    assert not reader.complaints
