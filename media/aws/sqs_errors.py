"""What SQS answers, in our words; the failure of a whole call as one error."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError

from media.errors import Dependency, UnavailableError


@dataclass(frozen=True, slots=True)
class Received:
    """One delivery of one message."""

    message_id: str
    receipt: str
    body: str
    receive_count: int = 1
    first_received: float = 0.0
    sent: float = 0.0
    group_id: str = ""
    trace: str = ""
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailedEntry:
    """An entry of a batch that SQS did not carry out. `gone` means that the receipt is no longer ours."""

    receipt: str
    code: str
    gone: bool


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many messages a queue holds, roughly: waiting, and received but not deleted."""

    visible: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class MoveTask:
    """A task of SQS that moves a dead-letter queue's messages: its state, how many it moved, of how many."""

    running: bool
    status: str
    moved: int
    total: int
    failure: str = ""


class TooLargeError(UnavailableError):
    """SQS is there and refuses a message for its size: to send the same again is in vain."""


@contextmanager
def sqs_calls() -> Iterator[None]:
    """Turn every failure of a whole call into UnavailableError."""
    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        too_large = "TooLong" in said.get("Code", "") or "must be shorter than" in said.get("Message", "")
        kind = TooLargeError if too_large else UnavailableError
        raise kind(Dependency.SQS, f"{type(error).__name__}: {error}") from error
    except (BotoCoreError, HttpError, OSError, TimeoutError) as error:
        raise UnavailableError(Dependency.SQS, f"{type(error).__name__}: {error}") from error


_UNSUPPORTED = (
    "UnsupportedOperation",
    "InvalidAction",
    "UnknownOperation",
    "UnknownOperationException",
    "NotImplemented",
)
"""What SQS and its likes answer to an operation that they do not have, or not for this queue."""


def is_unsupported(refusal: ClientError) -> bool:
    """Whether there is no such operation here; any other refusal is one that somebody must hear of."""
    code = str(refusal.response.get("Error", {}).get("Code", ""))
    return code.rpartition(".")[2].rpartition("#")[2] in _UNSUPPORTED


def received_of(message: Any) -> Received:
    """One message of a receive."""
    system = message.get("Attributes", {})
    return Received(
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        first_received=int(system.get("ApproximateFirstReceiveTimestamp", 0)) / 1000,
        sent=int(system.get("SentTimestamp", 0)) / 1000,
        group_id=system.get("MessageGroupId", ""),
        trace=system.get("AWSTraceHeader", ""),
        attributes=message.get("MessageAttributes", {}),
    )


_GONE = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "MessageNotInflight",
        "InvalidParameterValue",
        "InvalidReceiptHandle",
        "AWS.SimpleQueueService.MessageNotInflight",
    }
)


def failed(answer: Any, receipts: Sequence[str]) -> list[FailedEntry]:
    """The entries of a batch, sent in the order of `receipts`, that were not carried out."""
    return [
        FailedEntry(receipts[int(entry["Id"])], entry["Code"], entry["Code"] in _GONE)
        for entry in answer.get("Failed", ())
    ]
