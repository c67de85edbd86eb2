"""An SQS queue in memory, by the loop's clock. Held to the same contract as the real one in `test_queue_contract`."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from media.aws.sqs import BATCH, FailedEntry, MessageQueue, NewMessage, QueueDepth, Received


@dataclass(slots=True)
class StoredMessage:
    """A message in the queue. It may be received from `visible_at` on, by the loop's clock."""

    message_id: str
    body: str
    visible_at: float
    group_id: str
    attributes: Mapping[str, Mapping[str, Any]]
    trace: str = ""
    receipt: str = ""
    receives: int = 0
    sent: float = field(default_factory=time.time)
    first: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the queue saw it, by the loop's clock."""

    at: float
    operation: str
    receipts: tuple[str, ...] = ()
    delays: tuple[int, ...] = ()


async def _at_once(_request: Request) -> None:
    """Delay nothing and raise nothing."""


class MemoryQueue(MessageQueue):
    """`network` is awaited before a request is carried out; it may delay it, or raise UnavailableError.

    While `error` is set, each request raises it after `network`.
    A receipt is valid until its message is received again or deleted, as in SQS's standard queues.
    """

    def __init__(self, name: str = "memory") -> None:
        super().__init__(cast("Any", None), name, f"memory://{name}")
        self.network: Callable[[Request], Awaitable[None]] = _at_once
        self.error: Exception | None = None
        self.requests: list[Request] = []
        self.messages: dict[str, StoredMessage] = {}
        """By id, in the order in which they were sent."""
        self._numbers = itertools.count(1)
        self._changed = asyncio.Event()

    def count(self, operation: str) -> int:
        """Count the requests of one operation."""
        return Counter(request.operation for request in self.requests)[operation]

    def receives(self, body: str) -> int:
        """Count the receives of the message with this body; 0 when it is deleted."""
        return max((stored.receives for stored in self.messages.values() if stored.body == body), default=0)

    def bodies(self) -> list[str]:
        return [stored.body for stored in self.messages.values()]

    def attributes(self) -> list[dict[str, str]]:
        """Return the attributes of every message in the queue."""
        return [
            {name: value["StringValue"] for name, value in stored.attributes.items()}
            for stored in self.messages.values()
        ]

    def steal(self, receipt: str) -> None:
        """Let another consumer receive the message of a receipt, which becomes invalid."""
        for stored in self.messages.values():
            if stored.receipt == receipt:
                stored.receipt, stored.visible_at = "another consumer's", time.monotonic() + 3600

    async def receive(self, *, limit: int, wait: int, visibility: int) -> list[Received]:
        await self._request("receive")
        until = time.monotonic() + wait
        while not (found := self._take(min(limit, BATCH), visibility)) and time.monotonic() < until:
            await self._change(until)
        return found

    async def _change(self, until: float) -> None:
        """Wait until a message may have become visible, or the long poll is over."""
        self._changed.clear()
        due = min([until, *(stored.visible_at for stored in self.messages.values())])
        try:
            async with asyncio.timeout(max(0.001, due - time.monotonic())):
                await self._changed.wait()
        except TimeoutError:
            return

    async def delete(self, receipts: Sequence[str]) -> list[FailedEntry]:
        await self._request("delete", receipts)
        for receipt in receipts:
            if stored := self._of(receipt):
                del self.messages[stored.message_id]
        return []

    async def change_visibility(self, delays: Mapping[str, int]) -> list[FailedEntry]:
        await self._request("change_visibility", list(delays), list(delays.values()))
        gone = []
        for receipt, delay in delays.items():
            stored = self._of(receipt)
            if stored is None or stored.visible_at <= time.monotonic():
                gone.append(FailedEntry(receipt, "ReceiptHandleIsInvalid", gone=True))
            else:
                stored.visible_at = time.monotonic() + delay
        self._changed.set()
        return gone

    async def send_message(self, message: NewMessage) -> None:
        await self._request("send")
        self.store(message)

    async def send_batch(self, messages: Sequence[NewMessage]) -> list[bool]:
        await self._request("send_batch")
        for message in messages:
            self.store(message)
        return [True] * len(messages)

    def store(self, new: NewMessage) -> None:
        """Put a message into the queue without a request."""
        message_id = f"m{next(self._numbers)}"
        visible_at = time.monotonic() + new.delay
        self.messages[message_id] = StoredMessage(
            message_id, new.body, visible_at, new.group_id, new.attributes, new.trace
        )
        self._changed.set()

    async def depth(self) -> QueueDepth:
        await self._request("depth")
        visible = sum(stored.visible_at <= time.monotonic() for stored in self.messages.values())
        return QueueDepth(visible, len(self.messages) - visible)

    async def _request(self, operation: str, receipts: Sequence[str] = (), delays: Sequence[int] = ()) -> None:
        request = Request(time.monotonic(), operation, tuple(receipts), tuple(delays))
        self.requests.append(request)
        await self.network(request)
        if self.error:
            raise self.error

    def _take(self, limit: int, visibility: int) -> list[Received]:
        now = time.monotonic()
        taken = self._choose([stored for stored in self.messages.values() if stored.visible_at <= now], limit)
        for stored in taken:
            stored.visible_at, stored.receipt = now + visibility, f"r{next(self._numbers)}"
            stored.receives += 1
            stored.first = stored.first or time.time()
        return [_received(stored) for stored in taken]

    def _choose(self, ready: Sequence[StoredMessage], limit: int) -> Sequence[StoredMessage]:
        return ready[:limit]

    def _of(self, receipt: str) -> StoredMessage | None:
        return next((stored for stored in self.messages.values() if stored.receipt == receipt), None)


def _received(stored: StoredMessage) -> Received:
    return Received(
        message_id=stored.message_id,
        receipt=stored.receipt,
        body=stored.body,
        receive_count=stored.receives,
        first_received=stored.first,
        sent=stored.sent,
        group_id=stored.group_id,
        trace=stored.trace,
        attributes=stored.attributes,
    )
