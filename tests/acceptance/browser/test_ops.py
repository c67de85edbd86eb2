"""The operator's view: Chromium, the embedded stack, dead letters that really died."""

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
from tests.acceptance.browser.conftest import PATIENCE, Visitor
from tests.acceptance.browser.operations import SUMMARY, fulfilled, troubled
from tests.acceptance.conftest import jpeg
from tests.conftest import EmbeddedStack

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

expect.set_options(timeout=PATIENCE)


@dataclass(frozen=True, slots=True)
class Aws:
    """What other services do: hand in recordings, store objects."""

    s3: "S3Client"
    sqs: "SQSClient"
    stack: EmbeddedStack

    async def tell_of_a_recording(self, body: str) -> None:
        await self.sqs.send_message(QueueUrl=self.stack.settings["MEDIA_RECORDINGS_QUEUE_URL"], MessageBody=body)

    async def store(self, key: str, content: bytes) -> None:
        bucket = self.stack.settings["OUTPUT_BUCKET"]
        await self.s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType="image/jpeg")


@pytest.fixture
async def aws(stack: EmbeddedStack) -> AsyncIterator[Aws]:
    """The emulator's clients; what died in the test is thrown away after it."""
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
    """The rows of dead letters whose reason holds this text."""
    return page.locator("#dead tbody tr").filter(has_text=text)


async def until_there(operator: Visitor, row: Locator) -> Locator:
    """A row that comes; the view is told to look again rather than waited for."""
    async with asyncio.timeout(PATIENCE / 1000):
        while not await row.count():
            async with operator.page.expect_response(SUMMARY):
                await operator.page.get_by_role("button", name="Refresh now").click()
    await expect(row).to_have_count(1)
    return row


async def until_another(operator: Visitor, row: Locator, message_id: str) -> None:
    """The row is there for another letter than this one."""
    await until_there(operator, row.filter(has_not=operator.page.locator(f'.id[title="{message_id}"]')))


async def send_back(operator: Visitor, row: Locator) -> None:
    await row.get_by_role("button", name="Redrive").click()
    dialog = operator.page.get_by_role("dialog", name="Send 1 message back")
    await dialog.get_by_role("button", name="Send back").click()
    done = operator.page.get_by_role("dialog", name="1 message sent back")
    await done.get_by_role("button", name="Close").click()


async def test_a_dead_letter_whose_cause_was_mended_is_sent_back_and_its_asset_becomes_ready(
    operator: Visitor, aws: Aws, stack: EmbeddedStack
) -> None:
    owner, asset_id = f"mended-{uuid4().hex[:8]}", uuid4()
    key = upload_key(AssetType.IMAGE, owner, asset_id, "rescued.jpg")
    await aws.store(key, jpeg(400, 300))  # S3 tells of it, and no asset has that key
    row = await until_there(operator, reasons(operator.page, owner))
    await expect(row).to_contain_text("Names an asset that does not exist")
    await expect(row.get_by_role("button", name="Timeline of asset")).to_have_attribute("title", str(asset_id))
    await mend(
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
    await send_back(operator, row)
    await expect(operator.page.get_by_role("status").filter(has_text="1 message sent back to uploads")).to_be_visible()
    await expect(reasons(operator.page, owner)).to_have_count(0)
    await operator.page.goto("about:blank")  # another address of the same page would only be a new hash
    await operator.arrive(stack.token(user=owner))
    await expect(operator.card("rescued.jpg", "ready")).to_be_visible()


async def mend(stack: EmbeddedStack, new: NewAsset) -> None:
    async with connect(stack.dsn) as database:
        assert await AssetStore(database).create(new)


async def test_a_redrive_that_was_cut_short_says_so_and_goes_on_when_told(operator: Visitor) -> None:
    answers = iter([(5, False), *[(0, False)] * 3, (2, True)])

    async def answered(route: Route) -> None:
        moved, finished = next(answers)
        await route.fulfill(json={"queue": "images", "moved": moved, "finished": finished})

    await fulfilled(operator.page, troubled())
    await operator.page.route("**/api/v1/media/ops/redrive", answered)
    await reasons(operator.page, "cannot read").get_by_role("button", name="Redrive").click()
    await operator.page.get_by_role("dialog").get_by_role("button", name="Send back").click()
    dialog = operator.page.get_by_role("dialog", name="Not all were looked at")
    await expect(dialog).to_contain_text("5 messages sent back to images. More may be there that are meant")
    told = operator.page.get_by_text("5 messages sent back to images, maybe not all, at")  # behind the dialog
    await expect(told).to_be_attached()
    await dialog.get_by_role("button", name="Go on").click()
    await expect(operator.page.get_by_role("dialog", name="2 messages sent back")).to_be_visible()


async def test_what_still_fails_is_back_under_its_reason(operator: Visitor, aws: Aws) -> None:
    webinar = uuid4().hex
    await aws.tell_of_a_recording(json.dumps({"type": webinar, "version": 1}))
    row = await until_there(operator, reasons(operator.page, "Cannot be read"))
    await expect(row.get_by_role("cell").first).to_have_text("1")
    first = str(await row.locator(".id").get_attribute("title"))
    await send_back(operator, row)
    await until_another(operator, row, first)
    await expect(row.get_by_role("cell").first).to_have_text("1")
    await expect(operator.page.locator("#verdict")).to_contain_text("1 dead letter")


async def test_it_can_be_used_without_a_mouse(operator: Visitor, aws: Aws) -> None:
    await aws.tell_of_a_recording("neither JSON nor anything")
    row = await until_there(operator, reasons(operator.page, "not JSON"))
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
    # Where the letter has not died again yet its button is gone, and the heading has the focus.
    await expect(operator.page.locator("#dead [data-act=redrive]:focus, #dead-title:focus")).to_have_count(1)
    await until_another(operator, row, first)


async def test_a_token_that_is_not_an_administrators_is_refused_in_plain_words(
    stranger: Visitor, stack: EmbeddedStack
) -> None:
    await stranger.page.goto(f"{stranger.url}/ops#token={stack.token(user='dr-house')}")
    refusal = stranger.page.get_by_role("alert")
    await expect(refusal).to_have_text(
        "This token is not an administrator’s. It belongs to dr-house, whose role is “user”."
    )
    await expect(stranger.page.locator("#board")).to_be_hidden()
    field = stranger.page.get_by_label("Access token")
    await expect(field).to_be_focused()
    await field.fill("no token at all")
    await field.press("Enter")
    await expect(refusal).to_contain_text("The token was refused")
    await field.fill(stack.token(user="root", role="admin"))
    await field.press("Enter")
    await expect(stranger.page.get_by_role("heading", name="Queues")).to_be_visible()
    await expect(stranger.page.locator("#who-name")).to_have_text("root · admin")
    await stranger.page.get_by_role("button", name="Sign out").click()
    await expect(field).to_be_visible()


async def test_without_a_token_it_asks_for_one_and_complains_of_nothing(stranger: Visitor) -> None:
    stranger.listen()
    await stranger.page.goto(f"{stranger.url}/ops")
    await expect(stranger.page.get_by_role("heading", name="Operations")).to_be_focused()
    await expect(stranger.page.get_by_role("alert")).to_have_count(0)
    assert not stranger.complaints


async def test_the_living_are_told_from_the_silent_and_the_draining(operator: Visitor) -> None:
    await fulfilled(operator.page, troubled())
    rows = operator.page.locator("#consumers tbody tr")
    await expect(rows).to_have_count(3)
    await expect(rows.nth(0)).to_contain_text("Running")
    await expect(rows.nth(0)).to_contain_text("ClamAV away")
    await expect(rows.nth(1)).to_contain_text("Draining")
    await expect(rows.nth(2)).to_contain_text("Silent")
    await expect(operator.page.locator("#stuck tbody tr")).to_contain_text(["Encoding", "Safety scan"])
    verdict = "Needs a look: 49 dead letters, 2 stuck assets, 1 silent consumer and ClamAV away."
    await expect(operator.page.get_by_role("status").filter(has_text=verdict)).to_be_visible()


async def test_a_stuck_assets_timeline_is_one_press_away(operator: Visitor, stack: EmbeddedStack) -> None:
    asset_id = await announced(operator, stack)
    await fulfilled(operator.page, troubled(asset_id))
    opener = operator.page.locator("#stuck").get_by_role("button", name="Timeline of asset").first
    await opener.click()
    story = operator.page.get_by_role("dialog", name="slow.jpg")
    await expect(story.locator(".event")).to_have_text(["Upload announced"])
    await story.get_by_role("button", name="Copy the asset’s id").click()
    assert await operator.page.evaluate("navigator.clipboard.readText()") == str(asset_id)
    await story.get_by_role("button", name="Close").click()
    await expect(opener).to_be_focused()


async def announced(operator: Visitor, stack: EmbeddedStack) -> UUID:
    body = {"asset_type": "image", "content_type": "image/jpeg", "original_filename": "slow.jpg"}
    answer = await operator.page.request.post(
        f"{operator.url}/api/v1/media/upload",
        data=body,
        headers={"Authorization": f"Bearer {stack.token(user='slow')}"},
    )
    return UUID((await answer.json())["asset_id"])


async def test_it_says_when_nobody_answers_and_keeps_what_it_knows(operator: Visitor) -> None:
    await operator.page.route(SUMMARY, lambda route: route.abort())
    await operator.page.get_by_role("button", name="Refresh now").click()
    await expect(operator.page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    await expect(operator.page.locator("#outage")).to_contain_text("What you see is from")
    await expect(operator.page.locator("#queues tbody tr")).to_have_count(5)
    await operator.page.unroute(SUMMARY)
    await operator.page.get_by_role("button", name="Refresh now").click()
    await expect(operator.page.locator("#outage")).to_be_hidden()
    assert all("Failed to load resource" in complaint for complaint in operator.complaints)
    operator.complaints.clear()  # of what the test took away


@pytest.mark.parametrize("width", [360, 390, 1280])
async def test_nothing_is_wider_than_the_screen(operator: Visitor, width: int) -> None:
    await operator.page.set_viewport_size({"width": width, "height": 800})
    await fulfilled(operator.page, troubled())
    await expect(operator.page.locator("#stuck tbody tr")).to_have_count(2)
    assert await operator.page.evaluate("document.documentElement.scrollWidth") <= width
