"""The adapter to SQS: the only module that calls it. Batches report the failure of each entry."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from botocore.exceptions import ClientError

from media.aws.sqs_errors import (
    FailedEntry,
    MoveTask,
    NewMessage,
    QueueDepth,
    Received,
    TooLargeError,
    failed,
    is_unsupported,
    received_of,
    sqs_calls,
    text_attributes,
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
PROMPT = 4.0
"""Seconds that a receive without a wait may take, or a request after one that failed. With the longest pause before it
the end of an outage is seen in ten."""
MOVE_RATE = 500
"""Most messages a second of a move task, SQS's limit."""
CALL_TIMEOUT = 12.0
"""Seconds for any other call, its retries included."""
SHORT_REASON = 100
"""Characters that are kept of an attribute when a dead letter is too large."""
CUT_BODY = 32 * 1024
"""Characters that are kept of a body that is too large by itself. In any script they fit into 256 KiB, SQS's limit."""
REQUEST_LIMIT = 256 * 1024
"""Bytes of the messages in one request, the lowest limit of a queue."""


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
            async with asyncio.timeout(wait + RECEIVE_SLACK if wait else PROMPT):
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
        await self.send_message(NewMessage(body, group_id, text_attributes(attributes or {}), trace, delay))

    async def send_message(self, message: NewMessage) -> None:
        """Send one message."""
        async with self._timed_call("send"):
            answer = await self._client.send_message(QueueUrl=self.url, **message.parameters())
            if not answer["MessageId"]:  # a page of a proxy, say: it is not in the queue
                raise KeyError("MessageId")

    async def send_batch(self, messages: Sequence[NewMessage]) -> list[bool]:
        """Send at most BATCH messages in one request; returns for each whether it was sent."""
        entries: Any = [{"Id": str(n), **message.parameters()} for n, message in enumerate(messages)]
        async with self._timed_call("send"):
            answer = await self._client.send_message_batch(QueueUrl=self.url, Entries=entries)
            sent = {entry["Id"] for entry in answer.get("Successful", ())}
        return [str(n) in sent for n in range(len(messages))]

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

    async def send_message(self, message: NewMessage) -> None:
        """Send as any queue does, but cut a message that is too large: else SQS would move it here without a reason.

        The gauge of its messages grows at once, before the next look at the queue, so that alerts fire without delay.
        """
        texts = {name: value["StringValue"] for name, value in message.attributes.items() if "StringValue" in value}
        cuts = {name: {**message.attributes[name], "StringValue": text[:SHORT_REASON]} for name, text in texts.items()}
        short = replace(message, attributes={**message.attributes, **cuts})
        told = text_attributes({"body-cut-from": f"{len(message.body)} characters"})
        cut = replace(short, body=message.body[:CUT_BODY], attributes={**short.attributes, **told})
        for form in (message, short, cut):
            try:
                await super().send_message(form)
                break
            except TooLargeError as error:
                if form is cut:
                    raise
                log.warning("sqs.dead_letter_too_large", queue=self.name, error=error.detail)
        self._count_dead(1)

    async def send_batch(self, messages: Sequence[NewMessage]) -> list[bool]:
        """Send as any queue does, and count. Messages that are too large are for `send_message`."""
        sent = await super().send_batch(messages)
        self._count_dead(sum(sent))
        return sent

    def _count_dead(self, messages: int) -> None:
        if self._metrics:
            self._metrics.dead.labels(self._source).inc(messages)


class BatchSender:
    """Sends messages to one queue, ten a request. What is handed over during a request shares the next one.

    The caller waits for its own messages, so that no more wait than the callers hold.
    """

    def __init__(self, queue: MessageQueue) -> None:
        self._queue = queue
        self._waiting: deque[tuple[NewMessage, asyncio.Future[None]]] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def send(self, messages: Sequence[NewMessage]) -> None:
        """Send each message. Raises UnavailableError when one of them was not sent; the others may have been."""
        if not messages:
            return
        loop = asyncio.get_running_loop()
        outcomes = [loop.create_future() for _ in messages]
        self._waiting += zip(messages, outcomes, strict=True)
        if self._sending is None or self._sending.done():
            self._sending = loop.create_task(self._send_waiting())
        try:
            await asyncio.wait(outcomes)
        finally:  # a caller that is canceled wants no more of its messages to be sent
            for outcome in outcomes:
                outcome.cancel()
        if failure := next(filter(None, [outcome.exception() for outcome in outcomes]), None):
            raise failure

    async def _send_waiting(self) -> None:
        while batch := self._next_batch():
            try:
                await self._send_batch(batch)
            except Exception as error:  # noqa: BLE001 - each caller raises it
                # The queue is away. Whoever waits would only wait out one deadline after the other.
                for _, outcome in (*batch, *self._waiting):
                    if not outcome.done():
                        outcome.set_exception(error)
                self._waiting.clear()

    def _next_batch(self) -> list[tuple[NewMessage, asyncio.Future[None]]]:
        batch: list[tuple[NewMessage, asyncio.Future[None]]] = []
        size = 0
        while self._waiting and len(batch) < BATCH:
            message, outcome = self._waiting[0]
            size += message.size
            if batch and size > REQUEST_LIMIT:
                break
            self._waiting.popleft()
            if not outcome.done():
                batch.append((message, outcome))
        return batch

    async def _send_batch(self, batch: Sequence[tuple[NewMessage, asyncio.Future[None]]]) -> None:
        """Send one request, then by itself whatever was refused in it."""
        try:
            sent = await self._queue.send_batch([message for message, _ in batch])
        except TooLargeError:
            sent = [False] * len(batch)
        # Those that were sent first: should one of the others fail, they are not sent again.
        for (message, outcome), was_sent in sorted(zip(batch, sent, strict=True), key=lambda entry: not entry[1]):
            if not was_sent:
                await self._queue.send_message(message)
            if not outcome.done():
                outcome.set_result(None)


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
        self._senders = {name: BatchSender(queue) for name, queue in self._queues.items()}

    def __getitem__(self, name: str) -> MessageQueue:
        return self._queues[name]

    def dead_letters(self, name: str) -> MessageQueue:
        """Return the dead-letter queue of a queue. The template gives it the queue's name with `-dlq`."""
        return self._dead[name]

    async def send_rows(self, rows: Sequence[OutboundRow]) -> None:
        """Send the message of each row. What others send meanwhile shares its requests."""
        messages: dict[str, list[NewMessage]] = {}
        for row in rows:
            effect = row.effect
            trace = str(effect.body.get("trace_id", ""))
            messages.setdefault(effect.target, []).append(
                NewMessage(json.dumps(effect.body), effect.group_id, trace=trace if trace.startswith("Root=") else "")
            )
        for target, group in messages.items():
            await self._senders[target].send(group)


__all__ = [
    "BATCH",
    "PROMPT",
    "BatchSender",
    "DeadLetterQueue",
    "FailedEntry",
    "MessageQueue",
    "MessageQueues",
    "MoveTask",
    "NewMessage",
    "QueueDepth",
    "Received",
    "text_attributes",
]
