"""Many uploads at once: their order, their totals, paused, canceled; and files that arrived or are refused."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Page, Request, Route, expect

from tests.acceptance.browser.conftest import TIMEOUT_MS, File, Visitor
from tests.acceptance.browser.large_files import LARGE_PDF, PARTS, send_two_parts
from tests.acceptance.conftest import jpeg

expect.set_options(timeout=TIMEOUT_MS)
CONFIRM = "**/api/v1/media/upload/confirm"
PUTS = "**/uploads/image/**"
PICTURES = [File(f"{i}.jpg", "image/jpeg", jpeg(200, 100, i)) for i in range(8)]
TRIES = 6
"""How often the page asks for a confirmation before it waits for the event of the storage."""
NAMES = [file.name for file in PICTURES]


@dataclass  # without slots: Playwright keeps its wrappers of bound methods on the instance
class HeldPuts:
    """Holds the PUTs of a page until `opened` is set. `names` lists the files whose PUT began, in order."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    names: list[str] = field(default_factory=list)

    async def attach(self, page: Page) -> None:
        await page.route(PUTS, self._hold)

    async def _hold(self, route: Route, request: Request) -> None:
        if request.method == "PUT":
            self.names.append(request.url.partition("?")[0].rpartition("/")[2])
            await self.opened.wait()
        await route.continue_()


async def test_files_stand_in_the_order_in_which_they_are_sent(visitor: Visitor) -> None:
    held = HeldPuts()
    await held.attach(visitor.page)
    await visitor.drop(*PICTURES[:5])
    await visitor.drop(*PICTURES[5:])  # It joins those that are under way.
    await expect(visitor.page.locator(".card .card-name")).to_have_text(NAMES)
    await expect(visitor.page.locator("#transfer-title")).to_have_text("Sending 8 files")
    await expect(visitor.page.locator("#transfer-facts")).to_contain_text("0 of 8 sent · ")
    held.opened.set()
    await expect(visitor.page.locator("#transfer-title")).to_have_text("8 files sent")
    assert [int(name[0]) for name in held.names] == sorted(range(8), key=lambda i: held.names.index(f"{i}.jpg"))
    assert set(held.names[:3]) == set(NAMES[:3])
    assert set(held.names[-2:]) <= set(NAMES[-4:])
    await expect(visitor.page.locator(".card[data-status=ready]")).to_have_count(8)
    await expect(visitor.page.locator(".card .card-name")).to_have_text(NAMES)
    await expect(visitor.page.locator(".toast")).to_have_count(1)  # One for all, not one for each.


async def test_all_uploads_are_paused_continued_and_canceled(visitor: Visitor) -> None:
    page, held = visitor.page, HeldPuts()
    await held.attach(page)
    await visitor.drop(*PICTURES)
    await expect(page.locator(".card", has_text="Uploading")).to_have_count(3)
    await page.get_by_role("button", name="Pause all").click()
    await expect(page.locator("#transfer-title")).to_have_text("Paused")
    await expect(page.locator(".card .chip", has_text="Paused")).to_have_count(8)
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator(".card", has_text="Uploading")).to_have_count(3)
    await expect(page.locator(".card .card-name")).to_have_text(NAMES)
    await page.get_by_role("button", name="Cancel all").click()
    await page.get_by_role("dialog", name="Cancel all uploads?").get_by_role("button", name="Cancel them").click()
    await expect(page.get_by_text("No files yet")).to_be_visible()
    await expect(page.locator("#transfer")).to_be_hidden()
    held.opened.set()
    await page.reload()
    await expect(page.get_by_text("No files yet")).to_be_visible()  # Nothing was left at the service either.


async def test_paused_upload_in_parts_goes_on_where_it_was(visitor: Visitor, large_pdf: Path) -> None:
    gate = await send_two_parts(visitor.page, large_pdf)
    await visitor.page.get_by_role("button", name="Pause all").click()
    await expect(visitor.card(LARGE_PDF).locator(".chip")).to_contain_text("Paused")
    gate.opened.set()
    sent = len(gate.sent)
    gate.lets_through = lambda _number: True
    await visitor.page.get_by_role("button", name="Go on").click()
    await expect(visitor.card(LARGE_PDF, "ready")).to_be_visible()
    assert sorted(gate.sent[sent:]) == list(range(3, PARTS + 1))


async def test_picture_whose_confirmation_fails_becomes_ready_by_the_event_of_the_storage(visitor: Visitor) -> None:
    asked: list[str] = []

    async def fail(route: Route) -> None:
        asked.append(route.request.url)
        await route.fulfill(status=500, json={"code": "internal_error"})

    await visitor.page.route(CONFIRM, fail)
    await visitor.drop(PICTURES[0])
    await expect(visitor.card("0.jpg", "ready")).to_be_visible()
    await expect(visitor.page.locator("#transfer-title")).to_have_text("1 file sent")
    assert len(asked) < TRIES, "the event did not end the waiting"
    visitor.expect_console_errors("status of 500")


async def test_file_that_arrived_is_not_called_unsent_before_its_event(visitor: Visitor) -> None:
    """Neither the confirmation nor the event of the storage comes through. The clock is the test's."""
    page = visitor.page
    await page.route("**/api/v1/media/assets/events*", lambda route: route.abort())
    await page.route(CONFIRM, lambda route: route.fulfill(status=500, json={"code": "internal_error"}))
    await page.reload()
    await page.locator("#grid[aria-busy=false]").wait_for(state="attached")
    await page.clock.install()
    async with page.expect_response(CONFIRM):
        await visitor.drop(PICTURES[0])
    chip = visitor.card("0.jpg").locator(".chip")
    for _ in range(TRIES - 1):  # after growing pauses
        await expect(chip).to_have_text("Checking in")
        async with page.expect_response(CONFIRM):
            await page.clock.fast_forward("00:21")
    await expect(chip).to_have_text("Arrived")
    await expect(visitor.card("0.jpg").locator(".card-note")).to_contain_text("The file has arrived")
    await page.unroute(CONFIRM)
    async with page.expect_response(CONFIRM):
        await page.clock.fast_forward("00:16")
    await expect(visitor.card("0.jpg", "ready")).to_be_visible()
    visitor.console_errors.clear()  # of the answers and the streams that the test broke


async def test_drawing_that_is_not_taken_is_refused_with_advice_and_no_retry(visitor: Visitor) -> None:
    requests: list[str] = []
    visitor.page.on("request", lambda request: requests.append(request.url))
    await visitor.drop(File("logo.svg", "image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg"/>'))
    card = visitor.card("logo.svg")
    await expect(card.locator(".card-note")).to_contain_text("Export it as a PNG and send that")
    await expect(card.locator(".card-tools button")).to_have_count(1)
    await expect(card.get_by_role("button", name="Delete logo.svg")).to_be_visible()
    await expect(visitor.page.get_by_role("button", name="Send them again")).to_be_hidden()
    assert not [url for url in requests if url.endswith("/upload")]


async def test_sound_in_the_container_of_a_film_is_sent_as_audio(
    visitor: Visitor, clip: Path, sound_in_containers_of_films: dict[str, bytes]
) -> None:
    types = {"mov": "video/quicktime", "mp4": "video/mp4", "webm": "video/webm"}
    sounds = [File(name, types[name[-4:].strip(".")], made) for name, made in sound_in_containers_of_films.items()]
    await visitor.drop(*sounds, File("clip.mp4", "video/mp4", await asyncio.to_thread(clip.read_bytes)))
    for sound in sounds:
        card = visitor.card(sound.name, "ready")
        await expect(card).to_be_visible(timeout=3 * TIMEOUT_MS)
        await expect(card).to_have_attribute("data-type", "audio")
    await expect(visitor.card("clip.mp4")).to_have_attribute("data-type", "video")


async def test_drop_zone_tells_what_is_taken(visitor: Visitor) -> None:
    await expect(visitor.page.locator("#limits-short")).to_have_text(
        "Images up to 52 MB, videos up to 2 GB, audio up to 1 GB, PDFs up to 104 MB"
    )
    await visitor.page.get_by_text("Which formats").click()
    await expect(visitor.page.locator("#limits-list")).to_contain_text("HEIC")
