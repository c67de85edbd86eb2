"""SQS: the only module that calls it. Batches in, batches out, every entry's failure told."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError

from media.errors import Dependency, UnavailableError
from media.outbox import OutboxRow

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

log = structlog.get_logger(__name__)

BATCH = 10
"""Entries in one request, by SQS's own limit."""
_WANTED: list[Any] = ["ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SentTimestamp",
                      "MessageGroupId", "AWSTraceHeader"]  # fmt: skip
"""Each attribute of each message is parsed by the client: only those that are used."""
RECEIVE_SLACK = 10.0
"""Seconds that a receive may take beyond its wait before it counts as hung."""
MOVE_RATE = 500
"""Messages a second that a move task moves at most, by SQS's own limit."""
CALL_TIMEOUT = 15.0
"""Seconds for any other call, its retries included."""


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
class Failed:
    """An entry of a batch that SQS did not carry out. `gone` means that the receipt is no longer ours."""

    receipt: str
    code: str
    gone: bool


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages a queue holds, roughly: waiting, and received but not deleted."""

    visible: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Move:
    """A task of SQS that moves a dead-letter queue's messages: its state, how many it moved, of how many."""

    running: bool
    status: str
    moved: int
    total: int
    failure: str = ""


@contextmanager
def sqs_calls() -> Iterator[None]:
    """Turn every failure of a whole call into UnavailableError."""
    try:
        yield
    except (ClientError, BotoCoreError, HttpError, OSError, TimeoutError) as error:
        raise UnavailableError(Dependency.SQS, f"{type(error).__name__}: {error}") from error


class MessageQueue:
    """One queue. Every method raises UnavailableError when the call as a whole fails or takes too long."""

    def __init__(self, client: "SQSClient", name: str, url: str) -> None:
        self.name = name
        self.url = url
        self._client = client

    async def receive(self, *, limit: int, wait: int, visibility: int) -> list[Received]:
        """At most `limit` (and 10) messages, waiting up to `wait` seconds for the first one."""
        with sqs_calls():
            async with asyncio.timeout(wait + RECEIVE_SLACK):
                answer = await self._client.receive_message(
                    QueueUrl=self.url,
                    MaxNumberOfMessages=min(limit, BATCH),
                    WaitTimeSeconds=wait,
                    VisibilityTimeout=visibility,
                    MessageSystemAttributeNames=_WANTED,
                    MessageAttributeNames=["All"],
                )
        return [_received(message) for message in answer.get("Messages", ())]

    async def delete(self, receipts: Sequence[str]) -> list[Failed]:
        """Delete at most ten messages; returns the entries that failed."""
        entries: Any = [{"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(receipts)]
        with sqs_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)
        return _failed(answer, receipts)

    async def change_visibility(self, delays: Mapping[str, int]) -> list[Failed]:
        """Let at most ten messages (by receipt) become visible in so many seconds from now; returns what failed."""
        receipts = list(delays)
        entries: Any = [
            {"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": delays[receipt]}
            for n, receipt in enumerate(receipts)
        ]
        with sqs_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)
        return _failed(answer, receipts)

    async def send(
        self,
        body: str,
        *,
        group_id: str = "",
        attributes: Mapping[str, str] | None = None,
        trace: str = "",
        delay: int = 0,
    ) -> None:
        """Send one message, visible in `delay` (at most 900) seconds. A group id marks the tenant (fair queues)."""
        extra: dict[str, Any] = {"MessageGroupId": group_id} if group_id else {}
        if delay:
            extra["DelaySeconds"] = min(delay, 900)
        if trace:
            extra["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": trace}}
        typed: Any = {
            name: {"DataType": "String", "StringValue": _FORBIDDEN.sub("?", value[:1024]) or "-"}
            for name, value in (attributes or {}).items()
        }
        with sqs_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                await self._client.send_message(
                    QueueUrl=self.url, MessageBody=body, MessageAttributes=typed, **extra,
                )  # fmt: skip

    async def resend(self, received: Received) -> None:
        """Send a copy of a message: its body, tenant, trace and attributes, as they came."""
        extra: dict[str, Any] = {"MessageGroupId": received.group_id} if received.group_id else {}
        if received.trace:
            extra["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": received.trace}}
        attributes: Any = dict(received.attributes)
        with sqs_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                await self._client.send_message(
                    QueueUrl=self.url, MessageBody=received.body, MessageAttributes=attributes, **extra,
                )  # fmt: skip

    async def arn(self) -> str:
        """The queue's ARN, which tasks of SQS go by."""
        with sqs_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        return answer["Attributes"]["QueueArn"]

    async def start_move(self, target: "MessageQueue", *, rate: int | None = None) -> str | None:
        """Have SQS itself move all messages to `target`, at most `rate` (and 500) a second; returns the task.

        None where the server has no such tasks, or refuses this one: then they must be moved one by one. The target
        is always named: SQS does not know where a message came from that it did not move here itself.
        """
        speed: dict[str, Any] = {"MaxNumberOfMessagesPerSecond": min(rate, MOVE_RATE)} if rate else {}
        source, destination = await self.arn(), await target.arn()
        with sqs_calls():
            try:
                async with asyncio.timeout(CALL_TIMEOUT):
                    answer = await self._client.start_message_move_task(
                        SourceArn=source, DestinationArn=destination, **speed
                    )
            except ClientError as refusal:
                log.info("sqs.no_move_task", queue=self.name, error=str(refusal))
                return None
        return answer["TaskHandle"]

    async def move(self) -> Move:
        """How the last task stands that was to empty this queue."""
        source = await self.arn()
        with sqs_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._client.list_message_move_tasks(SourceArn=source, MaxResults=1)
        task: Any = next(iter(answer.get("Results", ())), {})
        status = str(task.get("Status", "UNKNOWN"))
        return Move(
            running=status in {"RUNNING", "CANCELLING"},
            status=status,
            moved=int(task.get("ApproximateNumberOfMessagesMoved", 0)),
            total=int(task.get("ApproximateNumberOfMessagesToMove", 0)),
            failure=str(task.get("FailureReason", "")),
        )

    async def cancel_move(self, task: str) -> None:
        """Stop a task; what it moved stays moved, the rest stays where it is."""
        with sqs_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                await self._client.cancel_message_move_task(TaskHandle=task)

    async def depth(self) -> Depth:
        """How full the queue is."""
        with sqs_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._client.get_queue_attributes(
                    QueueUrl=self.url,
                    AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
                )
        found = answer["Attributes"]
        return Depth(
            int(found["ApproximateNumberOfMessages"]), int(found["ApproximateNumberOfMessagesNotVisible"]),
        )  # fmt: skip


class MessageQueues:
    """All queues by name; sends what the outbox holds."""

    def __init__(self, client: "SQSClient", urls: Mapping[str, str]) -> None:
        self._queues = {name: MessageQueue(client, name, url) for name, url in urls.items()}
        self._dead = {name: MessageQueue(client, f"{name}-dlq", f"{url}-dlq") for name, url in urls.items()}

    def __getitem__(self, name: str) -> MessageQueue:
        return self._queues[name]

    def dead_letters(self, name: str) -> MessageQueue:
        """The dead-letter queue of a queue; by the template its name is the queue's with `-dlq`."""
        return self._dead[name]

    async def send_rows(self, rows: Sequence[OutboxRow]) -> None:
        """Carries out the outbox's `send` rows."""
        for row in rows:
            effect = row.effect
            await self[effect.target].send(
                json.dumps(effect.body), group_id=effect.group_id, trace=_trace_header(effect.body),
            )  # fmt: skip


def _trace_header(body: Mapping[str, Any]) -> str:
    trace = str(body.get("trace_id", ""))
    return trace if trace.startswith("Root=") else ""


def _received(message: Any) -> Received:
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


_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What SQS refuses in a text. A reason may quote what a stranger sent."""

_GONE = frozenset({"ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue", "InvalidReceiptHandle",
                   "AWS.SimpleQueueService.MessageNotInflight"})  # fmt: skip


def _failed(answer: Any, receipts: Sequence[str]) -> list[Failed]:
    return [
        Failed(receipts[int(entry["Id"])], entry["Code"], entry["Code"] in _GONE) for entry in answer.get("Failed", ())
    ]
