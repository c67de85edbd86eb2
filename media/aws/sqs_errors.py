"""SQS's answers as domain objects, and its failures as UnavailableError."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError

from media.errors import Dependency, UnavailableError


@dataclass(frozen=True, slots=True)
class Received:
    """One receive of one message. Times are Unix seconds."""

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
    """An entry of a batch that failed. `gone` means that the receipt is not valid any more."""

    receipt: str
    code: str
    gone: bool


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Approximate counts of a queue's messages: waiting, and received but not deleted."""

    visible: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class MoveTask:
    """A task in which SQS moves messages to another queue: its state, and how many of `total` it moved."""

    running: bool
    status: str
    moved: int
    total: int
    failure: str = ""


class TooLargeError(UnavailableError):
    """SQS refuses a message for its size. Sending the same again cannot succeed."""


@contextmanager
def sqs_calls() -> Iterator[None]:
    """Turn every failure of a whole call into UnavailableError."""
    try:
        yield
    except ClientError as error:
        found = error.response.get("Error", {})
        too_large = "TooLong" in found.get("Code", "") or "must be shorter than" in found.get("Message", "")
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
"""Error codes of SQS and its emulators for an operation that they do not have, or not for this queue."""


def is_unsupported(refusal: ClientError) -> bool:
    """Say whether the server lacks the operation. Any other refusal is an error."""
    code = str(refusal.response.get("Error", {}).get("Code", ""))
    return code.rpartition(".")[2].rpartition("#")[2] in _UNSUPPORTED


def received_of(message: Any) -> Received:
    """Read one message of a receive."""
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
"""Error codes of an entry whose receipt is not valid any more."""


def failed(answer: Any, receipts: Sequence[str]) -> list[FailedEntry]:
    """Return the entries of a batch that failed. The batch was sent in the order of `receipts`."""
    return [
        FailedEntry(receipts[int(entry["Id"])], entry["Code"], entry["Code"] in _GONE)
        for entry in answer.get("Failed", ())
    ]
