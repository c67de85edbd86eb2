"""Uploads over broken connections and to a busy service: they pause, retry and wait."""

import time
from pathlib import Path

import pytest
from playwright.async_api import Request, Route, expect

from media.settings import GIB
from tests.acceptance.browser.accessibility import serious_violations
from tests.acceptance.browser.conftest import TIMEOUT_MS, File, Visitor
from tests.acceptance.browser.large_files import LARGE_PDF, ONE_PART, PARTS, PartGate
from tests.acceptance.conftest import jpeg

expect.set_options(timeout=TIMEOUT_MS)
RETRY_AFTER = 3


async def test_upload_pauses_while_the_connection_is_lost(named_visitor: Visitor, large_pdf: Path) -> None:
    gate = PartGate(lambda number: number == 1)
    await gate.attach(named_visitor.page)
    await named_visitor.page.set_input_files("#files", large_pdf)
    await gate.wait_for(stored={1})
    await named_visitor.page.context.set_offline(offline=True)
    gate.opened.set()  # The held parts are sent now, while the browser is offline.
    chip = named_visitor.card(LARGE_PDF).locator(".chip")
    await expect(chip).to_have_text(f"No connection, paused at {ONE_PART}")
    assert await serious_violations(named_visitor.page) == []
    await named_visitor.page.context.set_offline(offline=False)
    await expect(named_visitor.card(LARGE_PDF, "ready")).to_be_visible()
    assert gate.stored == set(range(1, PARTS + 1))
    assert [number for number in sorted(gate.sent) if number not in {2, 3, 4}] == [1, 5]
    named_visitor.expect_console_errors("net::ERR_INTERNET_DISCONNECTED")
    assert not named_visitor.console_errors


async def test_broken_multipart_upload_resumes_where_it_stopped(named_visitor: Visitor, large_pdf: Path) -> None:
    refused = {"Access-Control-Allow-Origin": named_visitor.url}
    await named_visitor.page.route("**/*partNumber=3&*", lambda route: route.fulfill(status=400, headers=refused))
    await named_visitor.page.set_input_files("#files", large_pdf)
    card = named_visitor.card(LARGE_PDF)
    await expect(card.locator(".card-note")).to_contain_text("What has arrived is kept")
    await expect(named_visitor.page.get_by_role("alert")).to_contain_text(f"{LARGE_PDF}: The upload broke off")
    await named_visitor.page.unroute_all(behavior="ignoreErrors")
    gate = PartGate()
    await gate.attach(named_visitor.page)
    await card.get_by_role("button", name=f"Go on with {LARGE_PDF}").click()
    await expect(named_visitor.card(LARGE_PDF, "ready")).to_be_visible()
    assert 3 in gate.sent
    assert not {1, 2} & set(gate.sent)  # They were in flight when part 3 failed, and arrived.
    named_visitor.expect_console_errors("status of 400")
    assert not named_visitor.console_errors


async def test_broken_put_is_retried(named_visitor: Visitor) -> None:
    tries: list[str] = []

    async def break_once(route: Route) -> None:
        tries.append(route.request.url)
        await (route.abort("connectionreset") if len(tries) == 1 else route.continue_())

    await named_visitor.page.route("**/uploads/image/**", break_once)
    await named_visitor.drop(File("photo.jpg", "image/jpeg", jpeg(300, 200)))
    await expect(named_visitor.card("photo.jpg", "ready")).to_be_visible()
    assert len(tries) == 2
    named_visitor.expect_console_errors("net::ERR_CONNECTION_RESET")
    assert not named_visitor.console_errors


async def test_put_is_repeated_where_the_storage_asks_for_it(named_visitor: Visitor) -> None:
    answers = [(409, "ConditionalRequestConflict"), (400, "RequestTimeout")]

    async def answer(route: Route) -> None:
        if not answers or route.request.method != "PUT":
            await route.continue_()
            return
        status, code = answers.pop(0)
        allowed = {"Access-Control-Allow-Origin": named_visitor.url, "Content-Type": "application/xml"}
        await route.fulfill(status=status, headers=allowed, body=f"<Error><Code>{code}</Code></Error>")

    await named_visitor.page.route("**/uploads/image/**", answer)
    await named_visitor.drop(File("photo.jpg", "image/jpeg", jpeg(300, 200)))
    await expect(named_visitor.card("photo.jpg", "ready")).to_be_visible()
    assert not answers
    named_visitor.expect_console_errors("status of 409", "status of 400")
    assert not named_visitor.console_errors


@pytest.mark.parametrize("status", [429, 503])
async def test_upload_waits_for_retry_after(named_visitor: Visitor, status: int) -> None:
    requests: list[tuple[float, str | None]] = []

    async def refuse_once(route: Route, request: Request) -> None:
        requests.append((time.monotonic(), await request.header_value("Idempotency-Key")))
        if len(requests) == 1:
            body = '{"code": "rate_limited"}'
            headers = {"Retry-After": str(RETRY_AFTER), "Content-Type": "application/problem+json"}
            await route.fulfill(status=status, headers=headers, body=body)
        else:
            await route.continue_()

    await named_visitor.page.route("**/api/v1/media/upload", refuse_once)
    await named_visitor.drop(File("photo.jpg", "image/jpeg", jpeg(300, 200)))
    notice = named_visitor.page.get_by_role("status").filter(has_text="The service asks for a short break")
    await expect(notice).to_contain_text("It goes on by itself in 3 s")
    await expect(named_visitor.card("photo.jpg", "ready")).to_be_visible()
    await expect(notice).to_have_count(0)
    (first, key), (second, same_key) = requests
    assert second - first >= RETRY_AFTER
    assert key == same_key
    await expect(named_visitor.page.get_by_role("alert")).to_have_count(0)
    named_visitor.expect_console_errors(f"status of {status}")
    assert not named_visitor.console_errors


async def test_film_that_the_scan_would_reject_is_refused_before_it_is_sent(
    named_visitor: Visitor, tmp_path: Path
) -> None:
    film = tmp_path / "congress.mp4"
    with film.open("wb") as file:
        file.truncate(5 * GIB // 2)  # a sparse file: nobody reads it
    gate = PartGate()
    await gate.attach(named_visitor.page)
    await named_visitor.page.set_input_files("#files", film)
    card = named_visitor.card("congress.mp4")
    await expect(card).to_contain_text("The file has 2.7 GB, and at most 2.1 GB are taken. Try a smaller")
    assert gate.sent == []
    assert not named_visitor.console_errors
