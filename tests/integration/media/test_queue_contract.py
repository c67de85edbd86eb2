"""One contract for the queue in memory and the real adapter on the emulator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from media.aws.clients import Clients
from media.aws.sqs import MessageQueue, NewMessage, QueueDepth, Received
from tests.conftest import EmulatedAws
from tests.fakes.memory_queue import MemoryQueue
from tests.integration.media.conftest import settings_for

DEADLINE = 10.0


@pytest.fixture(params=["memory", "emulator"])
async def queue(
    request: pytest.FixtureRequest, emulator: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MessageQueue]:
    if request.param == "memory":
        yield MemoryQueue()
        return
    for name, value in emulator.client_env.items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:
        sqs = await Clients(settings_for(emulator.url), stack).sqs()
        url = (await sqs.create_queue(QueueName=f"contract-{uuid4().hex}"))["QueueUrl"]
        yield MessageQueue(sqs, "contract", url)


async def received(queue: MessageQueue, *, visibility: int = 30) -> Received:
    """Wait for the next message."""
    async with asyncio.timeout(DEADLINE):
        while not (found := await queue.receive(limit=1, wait=1, visibility=visibility)):
            pass
    return found[0]


async def test_message_is_received_once_with_its_attributes(queue: MessageQueue) -> None:
    await queue.send("body", group_id="owner", attributes={"error": "e"})
    message = await received(queue)
    assert (message.body, message.group_id, message.receive_count) == ("body", "owner", 1)
    assert message.attributes["error"]["StringValue"] == "e"
    assert message.first_received > 0
    assert message.sent > 0
    assert await queue.receive(limit=10, wait=0, visibility=30) == []
    assert await queue.depth() == QueueDepth(0, 1)


async def test_released_message_returns_at_once_with_another_receipt(queue: MessageQueue) -> None:
    await queue.send("body")
    first = await received(queue)
    assert await queue.change_visibility({first.receipt: 0}) == []
    second = await received(queue)
    assert second.message_id == first.message_id
    assert second.receipt != first.receipt
    assert second.receive_count == 2
    assert abs(second.first_received - first.first_received) < 0.5


async def test_message_released_with_a_delay_returns_after_it(queue: MessageQueue) -> None:
    await queue.send("body")
    first = await received(queue)
    await queue.change_visibility({first.receipt: 1})
    assert await queue.receive(limit=1, wait=0, visibility=30) == []
    assert (await received(queue)).message_id == first.message_id


async def test_expired_message_returns_and_extended_one_does_not(queue: MessageQueue) -> None:
    await queue.send("over")
    await queue.send("extended")
    over, extended = await received(queue, visibility=1), await received(queue, visibility=1)
    await queue.change_visibility({extended.receipt: 30})
    assert (await received(queue)).body == over.body
    assert await queue.receive(limit=10, wait=0, visibility=30) == []


async def test_deleting_twice_is_no_error(queue: MessageQueue) -> None:
    await queue.send("body")
    message = await received(queue)
    assert await queue.delete([message.receipt]) == []
    assert all(failed.gone for failed in await queue.delete([message.receipt])), "AWS says nothing, the emulator: gone"
    assert await queue.depth() == QueueDepth(0, 0)


async def test_extending_a_deleted_message_fails_as_gone(queue: MessageQueue) -> None:
    await queue.send("gone")
    await queue.send("there")
    gone, there = await received(queue), await received(queue)
    await queue.delete([gone.receipt])
    [failed] = await queue.change_visibility({gone.receipt: 30, there.receipt: 30})
    assert (failed.receipt, failed.gone) == (gone.receipt, True)


async def test_a_batch_is_at_most_ten(queue: MessageQueue) -> None:
    for number in range(12):
        await queue.send(str(number))
    found = await queue.receive(limit=10, wait=1, visibility=30)
    assert 0 < len(found) <= 10
    assert len({message.receipt for message in found}) == len(found)


async def test_a_delayed_message_waits(queue: MessageQueue) -> None:
    await queue.send("later", delay=1)
    assert await queue.receive(limit=1, wait=0, visibility=30) == []
    assert (await received(queue)).body == "later"


async def test_a_batch_is_sent_with_the_group_of_each_message(queue: MessageQueue) -> None:
    assert await queue.send_batch([NewMessage(str(n), f"owner-{n}") for n in range(3)]) == [True] * 3
    messages = [await received(queue) for _ in range(3)]
    assert sorted((message.body, message.group_id) for message in messages) == [
        (str(n), f"owner-{n}") for n in range(3)
    ]
