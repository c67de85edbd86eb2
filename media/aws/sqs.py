"""The adapter to SQS: the only module that calls it. Batches report the failure of each entry."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from botocore.exceptions import ClientError

from media.aws.sqs_errors import (
    FailedEntry,
    MoveTask,
    QueueDepth,
    Received,
    TooLargeError,
    failed,
    is_unsupported,
    received_of,
    sqs_calls,
)
from media.errors import UnavailableError
from media.telemetry import Metrics

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

log = structlog.get_logger(__name__)

BATCH = 10
"""Most entries in one request, SQS's limit."""
_WANTED: list[Any] = [
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SentTimestamp",
    "MessageGroupId",
    "AWSTraceHeader",
]
"""The attributes that are used. The client parses each one of each message, so no more are requested."""
RECEIVE_SLACK = 10.0
"""Seconds that a receive may take beyond its wait before it counts as hung."""
MOVE_RATE = 500
"""Most messages a second of a move task, SQS's limit."""
CALL_TIMEOUT = 12.0
"""Seconds for any other call, its retries included."""
SHORT_REASON = 100
"""Characters that are kept of an attribute when a dead letter is too large."""
CUT_BODY = 32 * 1024
"""Characters that are kept of a body that is too large by itself. In any script they fit into 256 KiB, SQS's limit."""


_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SQS refuses. A reason may quote a client's input, and so contain them."""


class MessageQueue:
    """One queue. Every method raises UnavailableError when the call as a whole fails or takes too long.

    With `metrics` it counts its requests, except `receive`, `delete` and `change_visibility`: poller, acknowledger and
    heartbeat count those by their results.
    """

    def __init__(self, client: "SQSClient", name: str, url: str, metrics: Metrics | None = None) -> None:
        self.name = name
        self.url = url
        self._client = client
        self._metrics = metrics

    @asynccontextmanager
    async def _timed_call(self, operation: str) -> AsyncIterator[None]:
        """Count one request, limit it to CALL_TIMEOUT, and turn its failure into UnavailableError."""
        try:
            with sqs_calls():
                async with asyncio.timeout(CALL_TIMEOUT):
                    yield
        except UnavailableError:
            self._count(operation, "error")
            raise
        self._count(operation, "ok")

    def _count(self, operation: str, result: str) -> None:
        if self._metrics:
            self._metrics.requests.labels(self.name, operation, result).inc()

    async def receive(self, *, limit: int, wait: int, visibility: int) -> list[Received]:
        """Receive at most `limit` (and BATCH) messages. Waits up to `wait` seconds for the first one."""
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
            return [received_of(message) for message in answer.get("Messages", ())]

    async def delete(self, receipts: Sequence[str]) -> list[FailedEntry]:
        """Delete at most ten messages; returns the entries that failed."""
        entries: Any = [{"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(receipts)]
        with sqs_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)
            return failed(answer, receipts)

    async def change_visibility(self, delays: Mapping[str, int]) -> list[FailedEntry]:
        """Set in how many seconds at most ten messages become visible, by receipt; returns the entries that failed."""
        receipts = list(delays)
        entries: Any = [
            {"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": delays[receipt]}
            for n, receipt in enumerate(receipts)
        ]
        with sqs_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)
            return failed(answer, receipts)

    async def send(
        self,
        body: str,
        *,
        group_id: str = "",
        attributes: Mapping[str, str] | None = None,
        trace: str = "",
        delay: int = 0,
    ) -> None:
        """Send one message, visible in `delay` (at most 900) seconds. The group id is the tenant (fair queues)."""
        extra: dict[str, Any] = {"MessageGroupId": group_id} if group_id else {}
        if delay:
            extra["DelaySeconds"] = min(delay, 900)
        if trace:
            extra["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": trace}}
        typed: Any = {
            name: {"DataType": "String", "StringValue": _FORBIDDEN.sub("?", value[:1024]) or "-"}
            for name, value in (attributes or {}).items()
        }
        async with self._timed_call("send"):
            await self._client.send_message(QueueUrl=self.url, MessageBody=body, MessageAttributes=typed, **extra)

    async def send_batch(self, messages: Sequence["OutboundMessage"]) -> list[bool]:
        """Send at most ten messages; returns for each whether it was sent."""
        entries: Any = [
            {"Id": str(n), "MessageBody": json.dumps(message.body), "MessageGroupId": message.group_id}
            for n, message in enumerate(messages)
        ]
        async with self._timed_call("send"):
            answer = await self._client.send_message_batch(QueueUrl=self.url, Entries=entries)
        sent = {entry["Id"] for entry in answer.get("Successful", ())}
        return [str(n) in sent for n in range(len(messages))]

    async def resend(self, received: Received) -> None:
        """Send a copy of a message, with its body, tenant, trace and attributes."""
        extra: dict[str, Any] = {"MessageGroupId": received.group_id} if received.group_id else {}
        if received.trace:
            extra["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": received.trace}}
        attributes: Any = dict(received.attributes)
        async with self._timed_call("send"):
            await self._client.send_message(
                QueueUrl=self.url,
                MessageBody=received.body,
                MessageAttributes=attributes,
                **extra,
            )

    async def arn(self) -> str:
        """Return the queue's ARN, which names it in move tasks."""
        async with self._timed_call("attributes"):
            answer = await self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
            return str(answer["Attributes"]["QueueArn"])

    async def start_move(self, target: "MessageQueue", *, rate: int | None = None) -> str | None:
        """Have SQS move all messages to `target`, at most `rate` (and MOVE_RATE) a second; returns the task.

        Returns None where the server has no such tasks, or not for this queue. The caller then has to move the messages
        one by one. The target is always named, because SQS knows the source of a message only when it moved the message
        here itself.
        """
        speed: dict[str, Any] = {"MaxNumberOfMessagesPerSecond": min(rate, MOVE_RATE)} if rate else {}
        source, destination = await self.arn(), await target.arn()
        async with self._timed_call("move"):
            try:
                answer = await self._client.start_message_move_task(
                    SourceArn=source, DestinationArn=destination, **speed
                )
            except ClientError as refusal:
                if not is_unsupported(refusal):
                    raise
                log.info("sqs.no_move_task", queue=self.name, error=str(refusal))
                return None
            return str(answer["TaskHandle"])

    async def move(self) -> MoveTask:
        """Return the state of the last move task of this queue."""
        source = await self.arn()
        async with self._timed_call("move"):
            answer = await self._client.list_message_move_tasks(SourceArn=source, MaxResults=1)
            task: Any = next(iter(answer.get("Results", ())), {})
            status = str(task.get("Status", "UNKNOWN"))
            return MoveTask(
                running=status in {"RUNNING", "CANCELLING"},
                status=status,
                moved=int(task.get("ApproximateNumberOfMessagesMoved", 0)),
                total=int(task.get("ApproximateNumberOfMessagesToMove", 0)),
                failure=str(task.get("FailureReason", "")),
            )

    async def cancel_move(self, task: str) -> None:
        """Stop a task. Messages that it moved stay moved, the others stay here."""
        async with self._timed_call("move"):
            await self._client.cancel_message_move_task(TaskHandle=task)

    async def depth(self) -> QueueDepth:
        """Count the queue's messages, approximately."""
        async with self._timed_call("attributes"):
            answer = await self._client.get_queue_attributes(
                QueueUrl=self.url,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )
            found = answer["Attributes"]
            return QueueDepth(
                int(found["ApproximateNumberOfMessages"]),
                int(found["ApproximateNumberOfMessagesNotVisible"]),
            )


class DeadLetterQueue(MessageQueue):
    """The dead-letter queue of the queue `source`. It takes every dead letter, cut where it is too large."""

    def __init__(self, client: "SQSClient", source: str, url: str, metrics: Metrics | None = None) -> None:
        super().__init__(client, f"{source}-dlq", f"{url}-dlq", metrics)
        self._source = source

    async def send(
        self,
        body: str,
        *,
        group_id: str = "",
        attributes: Mapping[str, str] | None = None,
        trace: str = "",
        delay: int = 0,
    ) -> None:
        """Send as any queue does, but cut a message that is too large: else SQS would move it here without a reason.

        The gauge of its messages grows at once, before the next look at the queue, so that alerts fire without delay.
        """
        short = {name: value[:SHORT_REASON] for name, value in (attributes or {}).items()}
        cut = {**short, "body-cut-from": f"{len(body)} characters"}
        for form, named in ((body, attributes or {}), (body, short), (body[:CUT_BODY], cut)):
            try:
                await super().send(form, group_id=group_id, attributes=named, trace=trace, delay=delay)
                break
            except TooLargeError as error:
                if named is cut:
                    raise
                log.warning("sqs.dead_letter_too_large", queue=self.name, error=error.detail)
        if self._metrics:
            self._metrics.dead.labels(self._source).inc()


class OutboundMessage(Protocol):
    """A message of the outbox: its queue, body and tenant."""

    @property
    def target(self) -> str: ...
    @property
    def body(self) -> Mapping[str, Any]: ...
    @property
    def group_id(self) -> str: ...


class OutboundRow(Protocol):
    """A row of the outbox, as far as the queues know it."""

    @property
    def effect(self) -> OutboundMessage: ...


class MessageQueues:
    """All queues by name. Sends the rows of the outbox."""

    def __init__(self, client: "SQSClient", urls: Mapping[str, str], metrics: Metrics | None = None) -> None:
        self._queues = {name: MessageQueue(client, name, url, metrics) for name, url in urls.items()}
        self._dead = {name: DeadLetterQueue(client, name, url, metrics) for name, url in urls.items()}

    def __getitem__(self, name: str) -> MessageQueue:
        return self._queues[name]

    def dead_letters(self, name: str) -> MessageQueue:
        """Return the dead-letter queue of a queue. The template gives it the queue's name with `-dlq`."""
        return self._dead[name]

    async def send_rows(self, rows: Sequence[OutboundRow]) -> None:
        """Send the message of each row."""
        for row in rows:
            effect = row.effect
            trace = str(effect.body.get("trace_id", ""))
            await self[effect.target].send(
                json.dumps(effect.body), group_id=effect.group_id, trace=trace if trace.startswith("Root=") else ""
            )


__all__ = [
    "BATCH",
    "DeadLetterQueue",
    "FailedEntry",
    "MessageQueue",
    "MessageQueues",
    "MoveTask",
    "QueueDepth",
    "Received",
]
