"""Large files go in parts: interrupted, picked up after a reload, thrown away."""

import hashlib
import os
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.acceptance.browser.accessibility import grave_findings
from tests.acceptance.browser.conftest import PATIENCE, Visitor
from tests.acceptance.browser.large_files import ATLAS, PARTS, TWO_PARTS, Bucket, Gate, half_sent, row, write_document
from tests.conftest import EmbeddedStack

expect.set_options(timeout=PATIENCE)
DRAG = ("dragEnter", "dragOver", "drop")


async def choose(page: Page, path: Path) -> None:
    async with page.expect_file_chooser() as opened:
        await page.get_by_role("button", name="Choose file, to go on").click()
    await (await opened.value).set_files(path)


async def interrupt(visitor: Visitor, atlas: Path) -> Gate:
    """Half of the atlas is sent, then the page reloaded. What it sends from then on."""
    await half_sent(visitor.page, atlas)
    await visitor.page.reload()
    await visitor.page.unroute_all(behavior="ignoreErrors")
    await expect(row(visitor.page)).to_contain_text(f"The upload was interrupted at {TWO_PARTS}.")
    after = Gate()
    await after.stand_before(visitor.page)
    return after


def made_at_the_same_time(path: Path, other: Path, *, later: float) -> None:
    age = other.stat().st_mtime + later
    os.utime(path, (age, age))


def digest_of(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


async def test_a_reload_costs_only_what_was_on_its_way(reader: Visitor, atlas: Path, tmp_path: Path) -> None:
    gate = await interrupt(reader, atlas)
    await expect(reader.page.get_by_role("status").filter(has_text=ATLAS)).to_have_text(
        f"{ATLAS}: The upload was interrupted at {TWO_PARTS}."
    )
    assert await grave_findings(reader.page) == []
    await choose(reader.page, write_document(tmp_path / "another.pdf", seed=2))
    await expect(row(reader.page).get_by_role("alert")).to_have_text(f"That is another.pdf. This upload is of {ATLAS}.")
    assert gate.sent == []
    await choose(reader.page, atlas)
    await expect(reader.card(ATLAS, "ready")).to_be_visible()
    assert sorted(gate.sent) == list(range(3, PARTS + 1))
    await expect(row(reader.page)).to_have_count(0)
    await reader.page.reload()
    await expect(reader.card(ATLAS, "ready")).to_be_visible()
    await expect(reader.page.locator("#unfinished")).to_be_hidden()
    assert not reader.complaints


@pytest.mark.parametrize("change", ["content", "time"])
async def test_only_the_same_file_goes_on(reader: Visitor, atlas: Path, tmp_path: Path, change: str) -> None:
    gate = await interrupt(reader, atlas)
    impostor = write_document(tmp_path / ATLAS, seed=2 if change == "content" else 1)
    made_at_the_same_time(impostor, atlas, later=60 if change == "time" else 0)
    await choose(reader.page, impostor)
    words = {"content": "has another content", "time": "was changed since its upload began"}
    await expect(row(reader.page).get_by_role("alert")).to_contain_text(words[change])
    assert gate.sent == []
    assert not reader.complaints


async def test_a_closed_tab_is_gone_on_with_in_another(
    reader: Visitor, stack: EmbeddedStack, owner: str, atlas: Path
) -> None:
    await half_sent(reader.page, atlas)
    other = Visitor(await reader.page.context.new_page(), reader.url)
    other.listen()
    await other.arrive(stack.token(user=owner))
    await expect(other.card(ATLAS, "pending")).to_be_visible()
    await expect(row(other.page)).to_have_count(0)  # the first tab is at it
    await reader.page.close()
    await other.page.reload()
    await expect(row(other.page)).to_contain_text(TWO_PARTS)
    gate = Gate()
    await gate.stand_before(other.page)
    async with other.page.expect_file_chooser() as opened:
        await other.page.get_by_role("button", name="Choose files").click()
    await (await opened.value).set_files(atlas)  # as if it were a new one: the page knows better
    await expect(other.card(ATLAS, "ready")).to_be_visible()
    assert sorted(gate.sent) == list(range(3, PARTS + 1))
    await expect(other.page.locator(".card")).to_have_count(1)
    async with aiohttp.ClientSession() as http, http.get(await original_url(stack, owner)) as answer:
        assert hashlib.sha256(await answer.read()).digest() == digest_of(atlas)
    assert not other.complaints


async def test_the_tab_that_comes_second_follows_the_first(
    reader: Visitor, stack: EmbeddedStack, owner: str, atlas: Path
) -> None:
    await interrupt(reader, atlas)
    other = Visitor(await reader.page.context.new_page(), reader.url)
    other.listen()
    await other.arrive(stack.token(user=owner))
    await expect(row(other.page)).to_contain_text(TWO_PARTS)
    await reader.page.unroute_all(behavior="ignoreErrors")
    gate = Gate(lambda number: number <= 2)
    await gate.stand_before(reader.page)
    async with reader.page.expect_request("**/*partNumber=*"):
        await choose(reader.page, atlas)
    await choose(other.page, atlas)
    await expect(other.page.get_by_role("status").filter(has_text="another tab is sending")).to_be_visible()
    await expect(other.card(ATLAS, "pending")).to_be_visible()
    gate.opened.set()
    for tab in (reader, other):
        await expect(tab.card(ATLAS, "ready")).to_be_visible()
        await expect(tab.page.locator(".card")).to_have_count(1)
        assert not tab.complaints


async def original_url(stack: EmbeddedStack, owner: str) -> str:
    """The URL of the only asset of an owner."""
    headers = {"Authorization": f"Bearer {stack.token(user=owner)}"}
    async with aiohttp.ClientSession(f"{stack.api_url}/api/v1/media/", headers=headers) as http:
        async with http.get("assets") as answer:
            [asset] = (await answer.json())["items"]
        async with http.get(f"assets/{asset['asset_id']}/url") as answer:
            return str((await answer.json())["url"])


async def test_what_was_dropped_goes_on_without_being_chosen_again(reader: Visitor, atlas: Path) -> None:
    gate = Gate(lambda number: number <= 2)
    await gate.stand_before(reader.page)
    hands = await reader.page.context.new_cdp_session(reader.page)
    for kind in DRAG:
        carried = {"items": [], "files": [str(atlas)], "dragOperationsMask": 1}
        await hands.send("Input.dispatchDragEvent", {"type": kind, "x": 700, "y": 160, "data": carried})
    await gate.wait_for(stored={1, 2})
    await reader.page.reload()
    await reader.page.unroute_all(behavior="ignoreErrors")
    after = Gate()
    await after.stand_before(reader.page)
    await reader.page.get_by_role("button", name="Continue, to go on").click()
    await expect(reader.card(ATLAS, "ready")).to_be_visible()
    assert sorted(after.sent) == list(range(3, PARTS + 1))
    assert not reader.complaints


async def test_what_is_discarded_leaves_nothing(reader: Visitor, stack: EmbeddedStack, owner: str, atlas: Path) -> None:
    await interrupt(reader, atlas)
    assert len(await Bucket(stack).uploads(owner)) == 1
    await reader.page.get_by_role("button", name="Discard the unfinished").focus()
    await reader.page.keyboard.press("Enter")
    dialog = reader.page.get_by_role("dialog", name="Discard this upload?")
    await expect(dialog).to_contain_text(f"The {TWO_PARTS} of {ATLAS} that have arrived will be removed")
    assert await grave_findings(reader.page) == []
    await dialog.get_by_role("button", name="Discard").click()
    await expect(row(reader.page)).to_have_count(0)
    await expect(reader.page.get_by_role("button", name="Choose files")).to_be_focused()
    assert await Bucket(stack).uploads(owner) == []
    await reader.page.reload()
    await expect(reader.page.get_by_text("No files yet")).to_be_visible()
    await expect(reader.page.locator("#unfinished")).to_be_hidden()
    assert not reader.complaints


async def test_what_the_storage_has_swept_is_told_and_sent_anew(
    reader: Visitor, stack: EmbeddedStack, owner: str, atlas: Path
) -> None:
    await half_sent(reader.page, atlas)
    await Bucket(stack).sweep(owner)
    await reader.page.reload()
    await reader.page.unroute_all(behavior="ignoreErrors")
    await expect(row(reader.page)).to_contain_text("interrupted more than a day ago, and what had arrived is gone")
    reader.forgive("status of 409")
    gate = Gate()
    await gate.stand_before(reader.page)
    await choose(reader.page, atlas)
    await expect(reader.card(ATLAS, "ready")).to_be_visible()
    assert sorted(gate.sent) == list(range(1, PARTS + 1))
    await expect(reader.page.locator(".card")).to_have_count(1)
    await expect(row(reader.page)).to_have_count(0)
    assert not reader.complaints


async def test_what_is_cancelled_leaves_nothing(reader: Visitor, stack: EmbeddedStack, owner: str, atlas: Path) -> None:
    await half_sent(reader.page, atlas)
    await reader.page.get_by_role("button", name=f"Cancel the upload of {ATLAS}").click()
    await expect(reader.page.get_by_role("status").filter(has_text="Upload canceled.")).to_be_visible()
    assert await Bucket(stack).uploads(owner) == []
    await reader.page.reload()
    await expect(reader.page.get_by_text("No files yet")).to_be_visible()
    await expect(row(reader.page)).to_have_count(0)
    assert not reader.complaints


async def test_an_interrupted_upload_fits_a_narrow_phone(reader: Visitor, atlas: Path) -> None:
    await reader.page.set_viewport_size({"width": 320, "height": 700})
    await interrupt(reader, atlas)
    assert await reader.page.evaluate("document.documentElement.scrollWidth") <= 320
    for name in ("Choose file, to go on", "Discard the unfinished"):
        box = await reader.page.get_by_role("button", name=name).bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320
    assert await grave_findings(reader.page) == []
    assert not reader.complaints
