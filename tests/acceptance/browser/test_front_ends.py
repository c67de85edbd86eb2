"""Uploads by the code of docs/api.md and docs/front-ends.md, with the libraries that it names, in Chromium."""

import base64
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page

from deploy.local.api_client import BASE
from tests.acceptance.browser import front_ends
from tests.acceptance.browser.conftest import Visitor
from tests.acceptance.browser.large_files import PART_URLS, PartGate
from tests.acceptance.conftest import jpeg
from tests.conftest import EmbeddedStack
from tests.integration.operate.documentation import ROOT, blocks
from tests.integration.stack.client import Client, open_client

LARGE = 33 * 1024 * 1024
"""Bytes that Uppy sends in five parts."""
USER = "front-end"
PHOTO = base64.b64encode(jpeg(320, 200)).decode()
SEND = """async ([api, token, content, last]) => {
    const { send } = await import('/front-end/client.js');
    const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
    const file = new File([bytes], 'photo.jpg', { type: 'image/jpeg' });
    return (await send(api, token, file, last ?? (() => { window.hasProgress = true; }))).asset_id;
}"""
WATCH = """async ([api, token]) => {
    const { watch } = await import('/front-end/client.js');
    window.told = new Promise((ready) => {
        watch(api, token, (asset) => { if (asset?.status === 'ready') ready(asset); });
    });
}"""
START_UPPY = """async ([api, token]) => {
    const { uploader } = await import('/front-end/client.js');
    const authorized = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    window.uppy = uploader(async (path, body, { method, key } = {}) => {
        const headers = { ...authorized, ...(key && { 'Idempotency-Key': key }) };
        const options = { method: method ?? (body ? 'POST' : 'GET'), headers, body: body && JSON.stringify(body) };
        const answer = await fetch(api + path, options);
        if (!answer.ok) throw new Error(await answer.text());
        return answer.status === 204 ? null : answer.json();
    });
    window.failed = new Promise((told) => uppy.on('upload-error', (_, error) => told(String(error))));
    window.sent = new Promise((told) => uppy.on('upload-success', ({ id }) => told(uppy.getFile(id).meta)));
}"""
ADD_BYTES = """([name, type, size]) => {
    uppy.addFile({ name, type, data: new Blob([new Uint8Array(size)], { type }) });
    uppy.upload();
}"""


@pytest.fixture
async def client(stack: EmbeddedStack) -> AsyncIterator[Client]:
    async with open_client(stack, USER) as opened:
        yield opened


async def open_client_page(page: Page, stack: EmbeddedStack, code: str) -> list[str]:
    """Open a page with this module. Return what its code takes first: the API's address and a token."""
    await front_ends.open_page(page, stack, "", {"client.js": code})
    return [stack.api_url + BASE, stack.token(user=USER)]


async def test_plain_javascript_sends_a_photo_and_is_told_when_it_is_ready(
    anonymous_visitor: Visitor, stack: EmbeddedStack
) -> None:
    page = anonymous_visitor.page
    functions = "\n".join(blocks(ROOT / "docs" / "api.md", "js"))
    access = await open_client_page(page, stack, f"{functions}\nexport {{ send, watch }};")
    await page.evaluate(WATCH, access)
    asset_id = await page.evaluate(SEND, [*access, PHOTO, "image"])
    assert await page.evaluate("told.then((asset) => asset.asset_id)") == asset_id


@pytest.mark.clients
async def test_axios_sends_a_photo(anonymous_visitor: Visitor, stack: EmbeddedStack, client: Client) -> None:
    page = anonymous_visitor.page
    code = await front_ends.bundle(front_ends.recipe("front-ends.md", "axios"))
    access = await open_client_page(page, stack, code)
    asset_id = await page.evaluate(SEND, [*access, PHOTO, None])
    assert await page.evaluate("hasProgress")
    assert (await client.wait_until_done(asset_id))["status"] == "ready"


@pytest.fixture
async def uppy_page(anonymous_visitor: Visitor, stack: EmbeddedStack) -> Page:
    page = anonymous_visitor.page
    code = await front_ends.bundle(front_ends.recipe("front-ends.md", "uppy"))
    await page.evaluate(START_UPPY, await open_client_page(page, stack, code))
    return page


@pytest.mark.clients
async def test_uppy_sends_a_file_at_once(uppy_page: Page, client: Client) -> None:
    await uppy_page.evaluate(ADD_BYTES, ["zeros.mp4", "video/mp4", 1000])
    sent = await uppy_page.evaluate("sent")
    asset = await client.wait_until_done(sent["asset_id"])
    assert (asset["original_filename"], asset["size"]) == ("zeros.mp4", 1000)


@pytest.mark.clients
async def test_uppy_pauses_and_resumes_an_upload_in_parts(uppy_page: Page, client: Client) -> None:
    gate = PartGate(lambda number: number <= 2)
    await gate.attach(uppy_page)
    await uppy_page.evaluate(ADD_BYTES, ["paused.mp4", "video/mp4", LARGE])
    await gate.wait_for(stored={1, 2})
    await uppy_page.evaluate("uppy.pauseAll()")
    gate.opened.set()
    await uppy_page.evaluate("uppy.resumeAll()")
    await check_large_upload(uppy_page, client, "paused.mp4", gate)


@pytest.mark.clients
@pytest.mark.parametrize("is_short", [True, False], ids=["short", "long"])
async def test_uppy_goes_on_after_a_cut(uppy_page: Page, client: Client, is_short: bool) -> None:
    """Within its tries Uppy sends the missing parts. After a longer cut the user retries, and it sends all."""
    name = f"cut-{is_short}.mp4"
    gate = PartGate(lambda number: number <= 2)
    await gate.attach(uppy_page)
    await uppy_page.evaluate(ADD_BYTES, [name, "video/mp4", LARGE])
    await gate.wait_for(stored={1, 2})
    await gate.cut()
    if not is_short:
        await uppy_page.evaluate("failed")
    await uppy_page.unroute(PART_URLS)
    after = PartGate()
    await after.attach(uppy_page)
    if not is_short:
        await uppy_page.evaluate("uppy.retryAll()")
    await check_large_upload(uppy_page, client, name, after)
    assert set(after.sent) == ({3, 4, 5} if is_short else {1, 2, 3, 4, 5})


async def check_large_upload(page: Page, client: Client, name: str, gate: PartGate) -> None:
    await page.evaluate("sent")
    assert max(gate.sent) == 5
    assert gate.sent.count(1) <= 1, "a part that is stored is not sent again"
    async with client.http.get("assets", raise_for_status=True) as answer:
        [asset] = [one for one in (await answer.json())["items"] if one["original_filename"] == name]
    assert asset["size"] == LARGE
    assert asset["status"] != "pending"
