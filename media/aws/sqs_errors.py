"""SQS's messages and answers as domain objects, and its failures as UnavailableError."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import structlog
from botocore.exceptions import ClientError

from media.aws.failures import UNFORESEEN, AwsFailure, classify, code_of
from media.errors import Dependency, FailureKind, UnavailableError

log = structlog.get_logger(__name__)

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SQS refuses. A reason may quote a client's input, and so contain them."""


class Received(NamedTuple):
    """One receive of one message. Times are Unix seconds. A tuple, as there are thousands a second of them."""

    message_id: str
    receipt: str
    body: str
    receive_count: int = 1
    first_received: float = 0.0
    sent: float = 0.0
    group_id: str = ""
    trace: str = ""
    attributes: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to send, visible in `delay` (at most 900) seconds. The group id is the tenant (fair queues)."""

    body: str
    group_id: str = ""
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trace: str = ""
    delay: int = 0

    @classmethod
    def copy_of(cls, received: Received) -> "NewMessage":
        return cls(received.body, received.group_id, received.attributes, received.trace)

    @property
    def size(self) -> int:
        """Bytes of the body and the attributes, as SQS counts them."""
        texts = [self.body]
        for name, value in self.attributes.items():
            texts += [name, *map(str, value.values())]
        return sum(len(text.encode()) for text in texts)

    def parameters(self) -> dict[str, Any]:
        """Return the message as SQS's calls take it."""
        found: dict[str, Any] = {"MessageBody": self.body, "MessageAttributes": dict(self.attributes)}
        if self.group_id:
            found["MessageGroupId"] = self.group_id
        if self.delay:
            found["DelaySeconds"] = min(self.delay, 900)
        if self.trace:
            found["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": self.trace}}
        return found


def text_attributes(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return attributes of text as SQS takes them."""
    return {
        name: {"DataType": "String", "StringValue": _FORBIDDEN.sub("?", text[:1024]) or "-"}
        for name, text in texts.items()
    }


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


TOO_LARGE = AwsFailure(FailureKind.INPUT, "the message is too large: a dead letter is cut")
CODES: dict[str, AwsFailure] = {
    "InvalidParameterValue": TOO_LARGE,
    "InvalidParameterValueException": TOO_LARGE,
    "BatchRequestTooLong": TOO_LARGE,
    "MessageTooLong": TOO_LARGE,
}
"""SQS's own codes. The first two mean it only where the text says "must be shorter than"."""


@contextmanager
def sqs_calls() -> Iterator[None]:
    """Turn every failure of a whole call into UnavailableError: no call names anything that is a file's."""
    try:
        yield
    except UnavailableError:
        raise
    except Exception as error:
        failure = classify(error, CODES)
        if failure is UNFORESEEN:
            log.exception("sqs.unforeseen")
        detail = f"{type(error).__name__}: {error}"
        is_too_large = failure is TOO_LARGE and ("TooLong" in detail or "must be shorter than" in detail)
        kind = TooLargeError if is_too_large else UnavailableError
        raise kind(Dependency.SQS, detail, is_unforeseen=failure is UNFORESEEN) from error


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
    return code_of(refusal).rpartition(".")[2] in _UNSUPPORTED


def received_of(message: Any) -> Received:
    """Read one message of a receive. Raises TypeError, KeyError or ValueError when it is none."""
    system = message.get("Attributes", {})
    texts = message["MessageId"], message["ReceiptHandle"], message["Body"]
    if set(map(type, texts)) != {str}:
        raise TypeError(f"not a message: {texts!r:.200}")
    return Received(
        *texts,
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        first_received=int(system.get("ApproximateFirstReceiveTimestamp", 0)) / 1000,
        sent=int(system.get("SentTimestamp", 0)) / 1000,
        group_id=str(system.get("MessageGroupId", "")),
        trace=str(system.get("AWSTraceHeader", "")),
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
    """Return the entries of a batch that failed. The batch was sent in the order of `receipts`.

    Raises ValueError, TypeError or KeyError unless the answer tells of each entry, once: nobody knows what was done.
    """
    failures = answer.get("Failed", ())
    told = sorted(int(entry["Id"]) for entry in (*answer.get("Successful", ()), *failures))
    if told != list(range(len(receipts))):
        raise ValueError(f"{len(receipts)} entries were sent, {told} are told of")
    return [FailedEntry(receipts[int(entry["Id"])], str(entry["Code"]), entry["Code"] in _GONE) for entry in failures]
