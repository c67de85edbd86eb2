"""Multipart uploads: interrupted, resumed after a reload, discarded."""

import hashlib
import os
import shutil
from pathlib import Path

import aiohttp
from playwright.async_api import Page, expect

from tests.acceptance.browser.accessibility import serious_violations
from tests.acceptance.browser.conftest import TIMEOUT_MS, Visitor
from tests.acceptance.browser.large_files import (
    LARGE_PDF,
    PARTS,
    TWO_PARTS,
    Bucket,
    PartGate,
    interrupted_row,
    send_two_parts,
    write_document,
)
from tests.conftest import EmbeddedStack

expect.set_options(timeout=TIMEOUT_MS)
DRAG = ("dragEnter", "dragOver", "drop")


async def choose(page: Page, path: Path) -> None:
    async with page.expect_file_chooser() as opened:
        await page.get_by_role("button", name="Choose file, to go on").click()
    await (await opened.value).set_files(path)


async def interrupt(visitor: Visitor, large_pdf: Path) -> PartGate:
    """Send two parts, then reload the page. Return a gate that records what the page sends from then on."""
    await send_two_parts(visitor.page, large_pdf)
    await visitor.page.reload()
    await visitor.page.unroute_all(behavior="ignoreErrors")
    await expect(interrupted_row(visitor.page)).to_contain_text(f"The upload was interrupted at {TWO_PARTS}.")
    after = PartGate()
    await after.attach(visitor.page)
    return after


def set_modified_time(path: Path, other: Path, *, later: float) -> None:
    age = other.stat().st_mtime + later
    os.utime(path, (age, age))


def digest_of(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


async def test_reload_resends_only_the_unfinished_parts(
    named_visitor: Visitor, large_pdf: Path, tmp_path: Path
) -> None:
    gate = await interrupt(named_visitor, large_pdf)
    await expect(named_visitor.page.get_by_role("status").filter(has_text=LARGE_PDF)).to_have_text(
        f"{LARGE_PDF}: The upload was interrupted at {TWO_PARTS}."
    )
    assert await serious_violations(named_visitor.page) == []
    await choose(named_visitor.page, write_document(tmp_path / "another.pdf", seed=2))
    await expect(interrupted_row(named_visitor.page).get_by_role("alert")).to_have_text(
        f"That is another.pdf. This upload is of {LARGE_PDF}."
    )
    assert gate.sent == []
    await choose(named_visitor.page, large_pdf)
    await expect(named_visitor.card(LARGE_PDF, "ready")).to_be_visible()
    assert sorted(gate.sent) == list(range(3, PARTS + 1))
    await expect(interrupted_row(named_visitor.page)).to_have_count(0)
    await named_visitor.page.reload()
    await expect(named_visitor.card(LARGE_PDF, "ready")).to_be_visible()
    await expect(named_visitor.page.locator("#unfinished")).to_be_hidden()
    assert not named_visitor.console_errors


async def test_only_the_same_file_resumes_an_upload(named_visitor: Visitor, large_pdf: Path, tmp_path: Path) -> None:
    gate = await interrupt(named_visitor, large_pdf)
    alert = interrupted_row(named_visitor.page).get_by_role("alert")
    impostor = write_document(tmp_path / LARGE_PDF, seed=2)
    set_modified_time(impostor, large_pdf, later=0)
    await choose(named_visitor.page, impostor)
    await expect(alert).to_contain_text("has another content")
    shutil.copy(large_pdf, impostor)
    set_modified_time(impostor, large_pdf, later=60)
    await choose(named_visitor.page, impostor)
    await expect(alert).to_contain_text("was changed since its upload began")
    assert gate.sent == []
    assert not named_visitor.console_errors


async def test_upload_of_a_closed_tab_resumes_in_another_tab(
    named_visitor: Visitor, stack: EmbeddedStack, owner: str, large_pdf: Path
) -> None:
    held = await send_two_parts(named_visitor.page, large_pdf)
    other = Visitor(await named_visitor.page.context.new_page(), named_visitor.url)
    other.record_console()
    await other.open_gallery(stack.token(user=owner))
    await expect(other.card(LARGE_PDF, "pending")).to_be_visible()
    await expect(interrupted_row(other.page)).to_have_count(0)  # The first tab is sending it.
    await held.cut()
    await named_visitor.page.close()
    await other.page.reload()
    await expect(interrupted_row(other.page)).to_contain_text(TWO_PARTS)
    gate = PartGate()
    await gate.attach(other.page)
    async with other.page.expect_file_chooser() as opened:
        await other.page.get_by_role("button", name="Choose files").click()
    await (await opened.value).set_files(large_pdf)  # Chosen like a new file; the page recognizes it.
    await expect(other.card(LARGE_PDF, "ready")).to_be_visible()
    assert sorted(gate.sent) == list(range(3, PARTS + 1))
    await expect(other.page.locator(".card")).to_have_count(1)
    async with aiohttp.ClientSession() as http, http.get(await original_url(stack, owner)) as answer:
        assert hashlib.sha256(await answer.read()).digest() == digest_of(large_pdf)
    assert not other.console_errors


async def test_second_tab_shows_the_upload_of_the_first(
    named_visitor: Visitor, stack: EmbeddedStack, owner: str, large_pdf: Path
) -> None:
    await interrupt(named_visitor, large_pdf)
    other = Visitor(await named_visitor.page.context.new_page(), named_visitor.url)
    other.record_console()
    await other.open_gallery(stack.token(user=owner))
    await expect(interrupted_row(other.page)).to_contain_text(TWO_PARTS)
    await named_visitor.page.unroute_all(behavior="ignoreErrors")
    gate = PartGate(lambda number: number <= 2)
    await gate.attach(named_visitor.page)
    async with named_visitor.page.expect_request("**/*partNumber=*"):
        await choose(named_visitor.page, large_pdf)
    await choose(other.page, large_pdf)
    await expect(other.page.get_by_role("status").filter(has_text="another tab is sending")).to_be_visible()
    await expect(other.card(LARGE_PDF, "pending")).to_be_visible()
    gate.opened.set()
    for tab in (named_visitor, other):
        await expect(tab.card(LARGE_PDF, "ready")).to_be_visible()
        await expect(tab.page.locator(".card")).to_have_count(1)
        assert not tab.console_errors


async def original_url(stack: EmbeddedStack, owner: str) -> str:
    """Request the URL of the owner's only asset."""
    headers = {"Authorization": f"Bearer {stack.token(user=owner)}"}
    async with aiohttp.ClientSession(f"{stack.api_url}/api/v1/media/", headers=headers) as http:
        async with http.get("assets") as answer:
            [asset] = (await answer.json())["items"]
        async with http.get(f"assets/{asset['asset_id']}/url") as answer:
            return str((await answer.json())["url"])


async def test_dropped_file_resumes_without_being_chosen_again(named_visitor: Visitor, large_pdf: Path) -> None:
    gate = PartGate(lambda number: number <= 2)
    await gate.attach(named_visitor.page)
    devtools = await named_visitor.page.context.new_cdp_session(named_visitor.page)
    for kind in DRAG:
        dragged = {"items": [], "files": [str(large_pdf)], "dragOperationsMask": 1}
        await devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 700, "y": 160, "data": dragged})
    await gate.wait_for(stored={1, 2})
    await named_visitor.page.reload()
    await named_visitor.page.unroute_all(behavior="ignoreErrors")
    after = PartGate()
    await after.attach(named_visitor.page)
    await named_visitor.page.get_by_role("button", name="Continue, to go on").click()
    await expect(named_visitor.card(LARGE_PDF, "ready")).to_be_visible()
    assert sorted(after.sent) == list(range(3, PARTS + 1))
    assert not named_visitor.console_errors


async def assert_fits_a_narrow_phone(page: Page) -> None:
    size = page.viewport_size
    assert size
    await page.set_viewport_size({"width": 320, "height": 700})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
    for name in ("Choose file, to go on", "Discard the unfinished"):
        box = await page.get_by_role("button", name=name).bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320
    assert await serious_violations(page) == []
    await page.set_viewport_size(size)


async def test_discarded_upload_leaves_nothing(
    named_visitor: Visitor, stack: EmbeddedStack, owner: str, large_pdf: Path
) -> None:
    await interrupt(named_visitor, large_pdf)
    await assert_fits_a_narrow_phone(named_visitor.page)
    assert len(await Bucket(stack).uploads(owner)) == 1
    await named_visitor.page.get_by_role("button", name="Discard the unfinished").focus()
    await named_visitor.page.keyboard.press("Enter")
    dialog = named_visitor.page.get_by_role("dialog", name="Discard this upload?")
    await expect(dialog).to_contain_text(f"The {TWO_PARTS} of {LARGE_PDF} that have arrived will be removed")
    assert await serious_violations(named_visitor.page) == []
    await dialog.get_by_role("button", name="Discard").click()
    await expect(interrupted_row(named_visitor.page)).to_have_count(0)
    await expect(named_visitor.page.get_by_role("button", name="Choose files")).to_be_focused()
    assert await Bucket(stack).uploads(owner) == []
    await named_visitor.page.reload()
    await expect(named_visitor.page.get_by_text("No files yet")).to_be_visible()
    await expect(named_visitor.page.locator("#unfinished")).to_be_hidden()
    assert not named_visitor.console_errors


async def test_expired_upload_is_reported_and_starts_over(
    named_visitor: Visitor, stack: EmbeddedStack, owner: str, large_pdf: Path
) -> None:
    await send_two_parts(named_visitor.page, large_pdf)
    await Bucket(stack).expire_uploads(owner)
    await named_visitor.page.reload()
    await named_visitor.page.unroute_all(behavior="ignoreErrors")
    await expect(interrupted_row(named_visitor.page)).to_contain_text(
        "interrupted more than a day ago, and what had arrived is gone"
    )
    named_visitor.expect_console_errors("status of 409")
    gate = PartGate()
    await gate.attach(named_visitor.page)
    await choose(named_visitor.page, large_pdf)
    await expect(named_visitor.card(LARGE_PDF, "ready")).to_be_visible()
    assert sorted(gate.sent) == list(range(1, PARTS + 1))
    await expect(named_visitor.page.locator(".card")).to_have_count(1)
    await expect(interrupted_row(named_visitor.page)).to_have_count(0)
    assert not named_visitor.console_errors


async def test_canceled_upload_leaves_nothing(
    named_visitor: Visitor, stack: EmbeddedStack, owner: str, large_pdf: Path
) -> None:
    await send_two_parts(named_visitor.page, large_pdf)
    await named_visitor.page.get_by_role("button", name=f"Cancel the upload of {LARGE_PDF}").click()
    await expect(named_visitor.page.get_by_role("status").filter(has_text="Upload canceled.")).to_be_visible()
    assert await Bucket(stack).uploads(owner) == []
    await named_visitor.page.reload()
    await expect(named_visitor.page.get_by_text("No files yet")).to_be_visible()
    await expect(interrupted_row(named_visitor.page)).to_have_count(0)
    assert not named_visitor.console_errors
