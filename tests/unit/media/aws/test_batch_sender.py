"""Messages are sent ten a request; each that a request refuses is sent by itself, and an outage fails all who wait."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from botocore.exceptions import ClientError

from media.aws.sqs import CUT_BODY, REQUEST_LIMIT, BatchSender, DeadLetterQueue, NewMessage, text_attributes
from media.errors import UnavailableError


class Sqs:
    """A stand-in for SQS's client. It keeps the bodies of each request; `refuses` says which it does not take."""

    def __init__(self, refuses: Callable[[str], bool] = lambda _: False) -> None:
        self.refuses = refuses
        self.requests: list[list[str]] = []
        self.taken: list[str] = []
        self.is_away = False
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()

    async def send_message_batch(self, *, Entries: list[Any], **_more: str) -> Any:  # noqa: N803 - AWS's name
        await self._request([entry["MessageBody"] for entry in Entries])
        if sum(len(entry["MessageBody"]) for entry in Entries) > REQUEST_LIMIT:
            raise ClientError({"Error": {"Code": "BatchRequestTooLong", "Message": "TooLong"}}, "SendMessageBatch")
        failed = [entry["Id"] for entry in Entries if self.refuses(entry["MessageBody"])]
        self.taken += [entry["MessageBody"] for entry in Entries if entry["Id"] not in failed]
        told = [{"Id": entry["Id"]} for entry in Entries if entry["Id"] not in failed]
        return {"Successful": told, "Failed": [{"Id": number, "Code": "x", "SenderFault": True} for number in failed]}

    async def send_message(self, *, MessageBody: str, **_more: Any) -> Any:  # noqa: N803 - AWS's name
        await self._request([MessageBody])
        if self.refuses(MessageBody):
            message = "Reason: Message must be shorter than 262144 bytes."
            raise ClientError({"Error": {"Code": "InvalidParameterValue", "Message": message}}, "SendMessage")
        self.taken.append(MessageBody)
        return {"MessageId": "m"}

    async def _request(self, bodies: list[str]) -> None:
        self.requests.append(bodies)
        self.asked.set()
        await self.go.wait()
        if self.is_away:
            raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "away"}}, "SendMessageBatch")

    def sender(self) -> BatchSender:
        return BatchSender(DeadLetterQueue(cast("Any", self), "work", "url"))


def numbered(count: int) -> list[NewMessage]:
    return [NewMessage(str(number), attributes=text_attributes({"error": "undecodable"})) for number in range(count)]


async def test_a_thousand_messages_take_a_hundred_requests() -> None:
    sqs = Sqs()
    await sqs.sender().send(numbered(1000))
    assert (len(sqs.requests), len(set(sqs.taken))) == (100, 1000)


async def test_callers_at_the_same_time_share_a_request() -> None:
    sqs = Sqs()
    sender = sqs.sender()
    await asyncio.gather(*(sender.send([message]) for message in numbered(100)))
    assert (len(sqs.requests), len(set(sqs.taken))) == (10, 100)


async def test_an_entry_that_is_refused_is_sent_by_itself_and_cut() -> None:
    sqs = Sqs(refuses=lambda body: len(body) > CUT_BODY)
    large = NewMessage("x" * (CUT_BODY + 1))
    await sqs.sender().send([*numbered(3), large])
    assert sorted(sqs.taken) == ["0", "1", "2", "x" * CUT_BODY]


async def test_an_entry_that_is_refused_for_good_fails_alone() -> None:
    sqs = Sqs(refuses=lambda body: body == "3")
    sender = sqs.sender()
    ended = await asyncio.gather(*(sender.send([message]) for message in numbered(7)), return_exceptions=True)
    assert [type(end) for end in ended if end] == [type(ended[3])]
    assert isinstance(ended[3], UnavailableError)
    assert len(sqs.taken) == 6


async def test_large_messages_are_spread_over_requests() -> None:
    sqs = Sqs()
    await sqs.sender().send([NewMessage(str(number) * 100_000) for number in range(5)])
    assert [len(bodies) for bodies in sqs.requests] == [2, 2, 1]


async def test_an_outage_fails_all_who_wait_after_one_request() -> None:
    sqs = Sqs()
    sqs.is_away, sender = True, sqs.sender()
    ended = await asyncio.gather(*(sender.send([message]) for message in numbered(50)), return_exceptions=True)
    assert {type(end) for end in ended} == {UnavailableError}
    assert len(sqs.requests) == 1, "each further one would take its whole deadline"
    sqs.is_away = False
    await sender.send(numbered(1))
    assert sqs.taken == ["0"]


async def test_what_a_canceled_caller_has_left_is_not_sent() -> None:
    sqs = Sqs()
    sqs.go.clear()
    sender = sqs.sender()
    canceled = asyncio.create_task(sender.send(numbered(30)))
    await sqs.asked.wait()
    canceled.cancel()
    await asyncio.wait({canceled})
    sqs.go.set()
    await sender.send([NewMessage("after")])
    assert canceled.cancelled()
    assert sqs.taken == [*map(str, range(10)), "after"]
