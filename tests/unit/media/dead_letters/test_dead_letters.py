"""Dead letters are cut to SQS's limit, and show why they died."""

from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from media.aws.sqs import SHORT_REASON, DeadLetterQueue, Received
from media.dead_letters.dead_letter import MOVED_BY_SQS, DeadLetter
from media.errors import UnavailableError

LIMIT = 100_000


class Sqs:
    """A stand-in that counts attributes too, as SQS does and the emulators do not."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken: list[tuple[str, dict[str, Any]]] = []

    async def send_message(self, *, MessageBody: str, MessageAttributes: dict[str, Any], **_more: str) -> Any:  # noqa: N803 - AWS's names
        attribute_size = sum(len(name) + len(value["StringValue"]) for name, value in MessageAttributes.items())
        if len(MessageBody) + attribute_size > self.limit:
            message = "One or more parameters are invalid. Reason: Message must be shorter than 262144 bytes."
            raise ClientError({"Error": {"Code": "InvalidParameterValue", "Message": message}}, "SendMessage")
        self.taken.append((MessageBody, MessageAttributes))
        return {"MessageId": "m"}


@pytest.mark.parametrize(("spare", "reason"), [(2000, 1000), (300, SHORT_REASON)])
async def test_reason_is_cut_before_the_body(spare: int, reason: int) -> None:
    sqs, body = Sqs(LIMIT), "b" * (LIMIT - spare)
    await DeadLetterQueue(cast("Any", sqs), "work", "url").send(body, attributes={"error": "odd", "reason": "r" * 1000})
    [(sent, attributes)] = sqs.taken
    assert sent == body
    assert len(attributes["reason"]["StringValue"]) == reason


def test_undelivered_event_has_eventbridges_reason() -> None:
    attributes = {
        name: {"DataType": "String", "StringValue": value}
        for name, value in {"ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "not authorized", "RULE_ARN": "x"}.items()
    }
    dead_letter = DeadLetter.from_message(Received("1", "receipt", "{}", attributes=attributes))
    assert (dead_letter.error, dead_letter.reason) == ("NO_PERMISSIONS", "not authorized")
    assert DeadLetter.from_message(Received("1", "receipt", "{}")).error == MOVED_BY_SQS


async def test_message_that_stays_too_large_is_an_error() -> None:
    with pytest.raises(UnavailableError):
        await DeadLetterQueue(cast("Any", Sqs(10)), "work", "url").send("b" * 100)
