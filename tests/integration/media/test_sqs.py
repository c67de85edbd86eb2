"""The SQS adapter on both backends."""

import asyncio
from collections import Counter
from uuid import uuid4

import pytest

from media.aws.sqs import (
    CUT_BODY,
    SHORT_REASON,
    BatchSender,
    MessageQueue,
    MessageQueues,
    NewMessage,
    QueueDepth,
    Received,
    text_attributes,
)
from media.contracts import ImageRequested
from media.dead_letters.dead_letter import DeadLetter, Selection
from media.dead_letters.moves import Pace, move_in_batches
from media.errors import UnavailableError
from media.outbox import Effect, OutboxRow
from media.telemetry import Metrics
from tests.integration.media.conftest import Cloud


async def receive(queue: MessageQueue, count: int = 1, visibility: int = 30) -> list[Received]:
    received: list[Received] = []
    while len(received) < count:
        received += await queue.receive(limit=count - len(received), wait=5, visibility=visibility)
    return received


async def test_message_has_its_attributes(cloud: Cloud) -> None:
    queue = cloud.queues["work"]
    await queue.send("hello", group_id="owner-1", attributes={"reason": "ü" * 2000, "empty": ""})
    (message,) = await receive(queue)
    assert (message.body, message.receive_count) == ("hello", 1)
    assert message.attributes["reason"]["StringValue"] == "ü" * 1024
    assert 0 < message.sent <= message.first_received


async def test_empty_queue_returns_nothing(cloud: Cloud) -> None:
    assert await cloud.queues["work"].receive(limit=10, wait=0, visibility=30) == []


async def test_deleted_messages_do_not_come_again(cloud: Cloud) -> None:
    queue = cloud.queues["work"]
    for number in range(10):
        await queue.send(str(number))
    received = await receive(queue, 10)
    assert await queue.delete([message.receipt for message in received]) == []
    depth = await queue.depth()
    assert (depth.visible, depth.in_flight) == (0, 0)


async def test_released_message_returns_and_counts_its_receives(cloud: Cloud) -> None:
    queue = cloud.queues["work"]
    await queue.send("again")
    (first,) = await receive(queue)
    assert await queue.change_visibility({first.receipt: 0}) == []
    (second,) = await receive(queue)
    assert (second.message_id, second.receive_count) == (first.message_id, 2)


async def test_each_entry_fails_on_its_own(cloud: Cloud) -> None:
    queue = cloud.queues["work"]
    await queue.send("one")
    (message,) = await receive(queue)
    failed = await queue.change_visibility({message.receipt: 5, "not-a-receipt": 5})
    assert [(failure.receipt, failure.gone) for failure in failed] == [("not-a-receipt", True)]


async def test_dead_letters_go_to_the_queue_of_that_name(cloud: Cloud) -> None:
    await cloud.queues.dead_letters("work").send("unreadable", attributes={"error": "undecodable"})
    (message,) = await receive(cloud.queues.dead_letters("work"))
    assert message.attributes["error"]["StringValue"] == "undecodable"


async def test_too_large_dead_letter_is_cut_and_counted_at_once(cloud: Cloud) -> None:
    url = cloud.queues.dead_letters("work").url
    await cloud.sqs.set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": "40000"})
    metrics = Metrics()
    dead = MessageQueues(cloud.sqs, {"work": url.removesuffix("-dlq")}, metrics).dead_letters("work")
    await dead.send("x" * 50_000, attributes={"error": "undecodable", "reason": "y" * 1000})
    (message,) = await receive(dead)
    assert message.body == "x" * CUT_BODY
    attributes = {name: value["StringValue"] for name, value in message.attributes.items()}
    assert attributes == {"error": "undecodable", "reason": "y" * SHORT_REASON, "body-cut-from": "50000 characters"}
    assert sample(metrics, "dlq_messages", queue="work") == 1
    assert sample(metrics, "sqs_requests_total", queue="work-dlq", operation="send", result="ok") == 1


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"media_{name}", labels)


async def test_requests_are_counted_by_result(cloud: Cloud) -> None:
    metrics = Metrics()
    url = cloud.queues["work"].url
    there = MessageQueue(cloud.sqs, "uploads", url, metrics)
    away = MessageQueue(cloud.sqs, "images", f"{url}-nowhere", metrics)
    await there.send("one")
    await there.depth()
    for call in (away.send("one"), away.depth()):
        with pytest.raises(UnavailableError):
            await call
    counted = {
        (queue, operation): [
            sample(metrics, "sqs_requests_total", queue=queue, operation=operation, result=result)
            for result in ("ok", "error")
        ]
        for queue in ("uploads", "images", "transcodes")
        for operation in ("send", "attributes")
    }
    assert [*counted.values()] == [[1, 0]] * 2 + [[0, 1]] * 2 + [[0, 0]] * 2


async def test_outbox_rows_are_sent_as_messages(cloud: Cloud) -> None:
    request = ImageRequested(asset_id=uuid4(), bucket="b", key="uploads/image/u/x/y", version_id="v", trace_id="t")
    row = OutboxRow(1, request.asset_id, Effect.send("work", request, owner_id="u"))
    await cloud.queues.send_rows([row])
    (message,) = await receive(cloud.queues["work"])
    assert ImageRequested.model_validate_json(message.body) == request


async def test_dead_letters_are_moved_and_deleted_ten_a_request(cloud: Cloud) -> None:
    sent: Counter[str] = Counter()
    cloud.sqs.meta.events.register("before-send.sqs", lambda event_name, **_: sent.update([event_name.split(".")[2]]))
    queue, dead = cloud.queues["work"], cloud.queues.dead_letters("work")
    await BatchSender(dead).send([NewMessage(str(n), "owner", text_attributes({"error": "e"})) for n in range(40)])
    assert sent == {"SendMessageBatch": 4}
    moved: list[DeadLetter] = []
    await move_in_batches(dead, queue, Selection(), Pace(), asyncio.Event(), moved.append)
    assert {(letter.received.body, letter.error) for letter in moved} == {(str(n), "e") for n in range(40)}
    assert sent["SendMessage"] == 0
    assert sent["SendMessageBatch"] - 4 == sent["DeleteMessageBatch"] < sent["ReceiveMessage"]
    assert (await queue.depth(), await dead.depth()) == (QueueDepth(40, 0), QueueDepth(0, 0))
    deleted = await receive(queue, 40)
    assert {(message.group_id, message.attributes["error"]["StringValue"]) for message in deleted} == {("owner", "e")}
