"""The operator's view in Chromium on the embedded stack, with real dead letters."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from aiobotocore.session import get_session
from playwright.async_api import Locator, Page, Route, expect

from deploy.local import emulator
from media.asset import AssetType, DeliveryClass, upload_key
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import connect
from tests.acceptance.browser.accessibility import serious_violations
from tests.acceptance.browser.conftest import TIMEOUT_MS, Visitor
from tests.acceptance.browser.ops_summaries import SUMMARY, failing_summary, show_summary
from tests.acceptance.conftest import jpeg
from tests.conftest import EmbeddedStack

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

expect.set_options(timeout=TIMEOUT_MS)


@dataclass(frozen=True, slots=True)
class Aws:
    """Stands for other services: sends recording events, stores objects."""

    s3: "S3Client"
    sqs: "SQSClient"
    stack: EmbeddedStack

    async def send_recording_event(self, body: str) -> None:
        await self.sqs.send_message(QueueUrl=self.stack.settings["MEDIA_RECORDINGS_QUEUE_URL"], MessageBody=body)

    async def store(self, key: str, content: bytes) -> None:
        bucket = self.stack.settings["OUTPUT_BUCKET"]
        await self.s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType="image/jpeg")


@pytest.fixture
async def aws(stack: EmbeddedStack) -> AsyncIterator[Aws]:
    """Connect to the emulator. The dead letters of the test are purged after it."""
    session = get_session()
    session.set_credentials(emulator.ACCESS_KEY, emulator.SECRET_KEY)
    url = stack.settings["AWS_ENDPOINT_URL"]
    async with AsyncExitStack() as opened:
        s3 = await opened.enter_async_context(session.create_client("s3", emulator.REGION, endpoint_url=url))
        sqs = await opened.enter_async_context(session.create_client("sqs", emulator.REGION, endpoint_url=url))
        yield Aws(s3, sqs, stack)
        for name in ("RECORDINGS", "UPLOADS"):
            await sqs.purge_queue(QueueUrl=f"{stack.settings[f'MEDIA_{name}_QUEUE_URL']}-dlq")


def reasons(page: Page, text: str) -> Locator:
    """Locate the rows of dead letters whose reason contains this text."""
    return page.locator("#dead tbody tr").filter(has_text=text)


async def wait_for_row(operator: Visitor, row: Locator) -> Locator:
    """Refresh the view until the row is there."""
    async with asyncio.timeout(TIMEOUT_MS / 1000):
        while not await row.count():
            async with operator.page.expect_response(SUMMARY):
                await operator.page.get_by_role("button", name="Refresh now").click()
    await expect(row).to_have_count(1)
    return row


async def wait_for_other_message(operator: Visitor, row: Locator, message_id: str) -> None:
    """Refresh the view until the row shows another message than this one."""
    await wait_for_row(operator, row.filter(has_not=operator.page.locator(f'.id[title="{message_id}"]')))


async def redrive(operator: Visitor, row: Locator) -> None:
    await row.get_by_role("button", name="Redrive").click()
    dialog = operator.page.get_by_role("dialog", name="Send 1 message back")
    await dialog.get_by_role("button", name="Send back").click()
    done = operator.page.get_by_role("dialog", name="1 message sent back")
    await done.get_by_role("button", name="Close").click()


async def test_redriven_dead_letter_makes_its_asset_ready_once_the_cause_is_mended(
    operator: Visitor, aws: Aws, stack: EmbeddedStack
) -> None:
    owner, asset_id = f"mended-{uuid4().hex[:8]}", uuid4()
    key = upload_key(AssetType.IMAGE, owner, asset_id, "rescued.jpg")
    await aws.store(key, jpeg(400, 300))  # S3 sends an event for a key of no asset.
    row = await wait_for_row(operator, reasons(operator.page, owner))
    await expect(row).to_contain_text("Names an asset that does not exist")
    await expect(row.get_by_role("button", name="Timeline of asset")).to_have_attribute("title", str(asset_id))
    await create_asset(
        stack,
        NewAsset(
            asset_id,
            owner,
            AssetType.IMAGE,
            DeliveryClass.PUBLIC,
            "image/jpeg",
            "rescued.jpg",
            stack.settings["OUTPUT_BUCKET"],
            key,
        ),
    )
    await redrive(operator, row)
    await expect(operator.page.get_by_role("status").filter(has_text="1 message sent back to uploads")).to_be_visible()
    await expect(reasons(operator.page, owner)).to_have_count(0)
    await operator.page.goto("about:blank")  # Otherwise only the hash of the address would change.
    await operator.open_gallery(stack.token(user=owner))
    await expect(operator.card("rescued.jpg", "ready")).to_be_visible()


async def create_asset(stack: EmbeddedStack, new: NewAsset) -> None:
    async with connect(stack.dsn) as database:
        assert await AssetStore(database).create(new)


async def test_incomplete_redrive_is_reported_and_can_be_continued(operator: Visitor) -> None:
    results = iter([(5, False), *[(0, False)] * 3, (2, True)])

    async def answer_redrive(route: Route) -> None:
        moved, finished = next(results)
        await route.fulfill(json={"queue": "images", "moved": moved, "finished": finished})

    await show_summary(operator.page, failing_summary())
    await operator.page.route("**/api/v1/media/ops/redrive", answer_redrive)
    await reasons(operator.page, "cannot read").get_by_role("button", name="Redrive").click()
    await operator.page.get_by_role("dialog").get_by_role("button", name="Send back").click()
    dialog = operator.page.get_by_role("dialog", name="Not all were looked at")
    await expect(dialog).to_contain_text("5 messages sent back to images. More may be there that are meant")
    outcome = operator.page.get_by_text("5 messages sent back to images, maybe not all, at")  # It is behind the dialog.
    await expect(outcome).to_be_attached()
    await dialog.get_by_role("button", name="Go on").click()
    await expect(operator.page.get_by_role("dialog", name="2 messages sent back")).to_be_visible()


async def test_redriven_message_that_fails_again_returns_under_its_reason(operator: Visitor, aws: Aws) -> None:
    webinar = uuid4().hex
    await aws.send_recording_event(json.dumps({"type": webinar, "version": 1}))
    row = await wait_for_row(operator, reasons(operator.page, "Cannot be read"))
    await expect(row.get_by_role("cell").first).to_have_text("1")
    first = str(await row.locator(".id").get_attribute("title"))
    await redrive(operator, row)
    await wait_for_other_message(operator, row, first)
    await expect(row.get_by_role("cell").first).to_have_text("1")
    await expect(operator.page.locator("#verdict")).to_contain_text("1 dead letter")


async def test_undecodable_message_is_read_and_discarded(operator: Visitor, aws: Aws) -> None:
    body = '<img src=x onerror="throw 1"> \u0645\u0631\u062d\u0628\u0627'
    await aws.send_recording_event(body)
    row = await wait_for_row(operator, reasons(operator.page, "not JSON"))
    await row.get_by_role("button", name="Read dead letters").click()
    letters = operator.page.get_by_role("dialog", name="Cannot be read")
    await expect(letters.locator("pre")).to_have_text([body])
    await expect(letters.get_by_role("status")).to_have_text("1 message in recordings")
    assert await serious_violations(operator.page) == []
    await letters.get_by_role("button", name="Discard them").click()
    question = operator.page.get_by_role("dialog", name="Discard 1 message of recordings?")
    await expect(question.get_by_role("button", name="Keep them")).to_be_focused()
    await question.get_by_role("button", name="Discard", exact=True).click()
    await operator.page.get_by_role("dialog", name="1 message discarded").get_by_role("button", name="Close").click()
    await expect(operator.page.locator("#outcome")).to_contain_text("1 message of recordings discarded at")
    await expect(row).to_have_count(0)


async def test_it_can_be_used_without_a_mouse(operator: Visitor, aws: Aws) -> None:
    await aws.send_recording_event("neither JSON nor anything")
    row = await wait_for_row(operator, reasons(operator.page, "not JSON"))
    button, keyboard = row.get_by_role("button", name="Redrive"), operator.page.keyboard
    first = str(await row.locator(".id").get_attribute("title"))
    await button.focus()
    await keyboard.press("Enter")
    await expect(operator.page.get_by_role("button", name="Keep them")).to_be_focused()
    await keyboard.press("Escape")
    await expect(button).to_be_focused()
    await keyboard.press("Enter")
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await expect(operator.page.get_by_role("button", name="Close")).to_be_focused()
    await keyboard.press("Enter")
    await expect(operator.page.get_by_role("dialog")).to_have_count(0)
    # Until the message has died again its button is gone, and the heading has the focus.
    await expect(operator.page.locator("#dead [data-act=redrive]:focus, #dead-title:focus")).to_have_count(1)
    await wait_for_other_message(operator, row, first)


async def test_a_token_that_is_not_an_administrators_is_refused_in_plain_words(
    anonymous_visitor: Visitor, stack: EmbeddedStack
) -> None:
    await anonymous_visitor.page.goto(f"{anonymous_visitor.url}/ops#token={stack.token(user='dr-house')}")
    refusal = anonymous_visitor.page.get_by_role("alert")
    await expect(refusal).to_have_text(
        "This token is not an administrator’s. It belongs to dr-house, whose role is “user”."
    )
    await expect(anonymous_visitor.page.locator("#board")).to_be_hidden()
    field = anonymous_visitor.page.get_by_label("Access token")
    await expect(field).to_be_focused()
    await field.fill("no token at all")
    await field.press("Enter")
    await expect(refusal).to_contain_text("The token was refused")
    await field.fill(stack.token(user="root", role="admin"))
    await field.press("Enter")
    await expect(anonymous_visitor.page.get_by_role("heading", name="Queues")).to_be_visible()
    await expect(anonymous_visitor.page.locator("#who-name")).to_have_text("root · admin")
    await anonymous_visitor.page.get_by_role("button", name="Sign out").click()
    await expect(field).to_be_visible()


async def test_without_a_token_it_asks_for_one_without_console_errors(anonymous_visitor: Visitor) -> None:
    anonymous_visitor.record_console()
    await anonymous_visitor.page.goto(f"{anonymous_visitor.url}/ops")
    await expect(anonymous_visitor.page.get_by_role("heading", name="Operations")).to_be_focused()
    await expect(anonymous_visitor.page.get_by_role("alert")).to_have_count(0)
    assert not anonymous_visitor.console_errors


async def test_running_draining_and_silent_consumers_look_different(operator: Visitor) -> None:
    await show_summary(operator.page, failing_summary())
    rows = operator.page.locator("#consumers tbody tr")
    await expect(rows).to_have_count(3)
    await expect(rows.nth(0)).to_contain_text("Running")
    await expect(rows.nth(0)).to_contain_text("ClamAV away")
    await expect(rows.nth(1)).to_contain_text("Draining")
    await expect(rows.nth(2)).to_contain_text("Silent")
    await expect(operator.page.locator("#stuck tbody tr")).to_contain_text(["Encoding", "Safety scan"])
    verdict = "Needs a look: 49 dead letters, 2 stuck assets, 1 silent consumer and ClamAV away."
    await expect(operator.page.get_by_role("status").filter(has_text=verdict)).to_be_visible()


async def test_timeline_of_a_stuck_asset_opens_with_one_click(operator: Visitor, stack: EmbeddedStack) -> None:
    asset_id = await create_slow_asset(operator, stack)
    await show_summary(operator.page, failing_summary(asset_id))
    opener = operator.page.locator("#stuck").get_by_role("button", name="Timeline of asset").first
    await opener.click()
    story = operator.page.get_by_role("dialog", name="slow.jpg")
    await expect(story.locator(".event").first).to_have_text("Upload announced")
    await story.get_by_role("button", name="Copy the asset’s id").click()
    assert await operator.page.evaluate("navigator.clipboard.readText()") == str(asset_id)
    await story.get_by_role("button", name="Close").click()
    await expect(opener).to_be_focused()


async def create_slow_asset(operator: Visitor, stack: EmbeddedStack) -> UUID:
    body = {"asset_type": "image", "content_type": "image/jpeg", "original_filename": "slow.jpg"}
    answer = await operator.page.request.post(
        f"{operator.url}/api/v1/media/upload",
        data=body,
        headers={"Authorization": f"Bearer {stack.token(user='slow')}"},
    )
    return UUID((await answer.json())["asset_id"])


async def test_outage_is_reported_and_the_last_summary_stays(operator: Visitor) -> None:
    await operator.page.route(SUMMARY, lambda route: route.abort())
    await operator.page.get_by_role("button", name="Refresh now").click()
    await expect(operator.page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    await expect(operator.page.locator("#outage")).to_contain_text("What you see is from")
    await expect(operator.page.locator("#queues tbody tr")).to_have_count(5)
    await operator.page.unroute(SUMMARY)
    await operator.page.get_by_role("button", name="Refresh now").click()
    await expect(operator.page.locator("#outage")).to_be_hidden()
    assert all("Failed to load resource" in error for error in operator.console_errors)
    operator.console_errors.clear()  # The test caused them.


BROKEN_WORDS = """() => [...document.querySelectorAll('.over')].flatMap((element) => {
    const text = element.firstChild;
    return [...text.data.matchAll(/[^\\s-]+-?/g)].filter(({ 0: word, index }) => {
        const range = document.createRange();
        range.setStart(text, index);
        range.setEnd(text, index + word.length);
        return range.getClientRects().length > 1;
    }).map(([word]) => word);
})"""
"""Lists the words of names that are broken in the middle."""


async def test_nothing_is_wider_than_the_screen(operator: Visitor) -> None:
    await show_summary(operator.page, failing_summary())
    await expect(operator.page.locator("#stuck tbody tr")).to_have_count(2)
    for width in (320, 390, 1280):
        await operator.page.set_viewport_size({"width": width, "height": 800})
        assert await operator.page.evaluate("document.documentElement.scrollWidth") <= width
        assert await operator.page.evaluate(BROKEN_WORDS) == []
