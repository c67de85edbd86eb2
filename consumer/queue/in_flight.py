"""In-flight messages: what was received, the task that works on it, and whether it is still ours."""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from media.aws.sqs import Received
from media.errors import UndecodableError

HOLD_LIMIT = 12 * 3600 - 300
"""Seconds for which a message is held at most. SQS extends none beyond twelve hours after its receive."""


class Record(Protocol):
    """One thing that a message asks for."""

    @property
    def owner(self) -> str:
        """The tenant, for fairness; empty where none is known."""
        ...

    @property
    def body(self) -> str:
        """This record as a message of its own, for when it is retried or dead-lettered without the others."""
        ...


@dataclass(frozen=True, slots=True)
class UndecodableRecord:
    """A record that cannot be decoded, beside others that can. It alone is dead-lettered."""

    error: UndecodableError
    body: str
    owner: str = ""


@dataclass(eq=False, slots=True)
class InFlightMessage:
    """A message that was received and is not settled yet.

    `expires` is when it becomes visible to others, by the loop's monotonic clock.
    `extension` is set while a heartbeat's request about it is under way. `leases` are whatever its work holds beside
    the message; the heartbeat hands them to its `renew` callback and knows nothing else of them. `earlier_trace` is the
    trace that its work goes on with, where one began before the message's.
    """

    received: Received
    queue: str
    records: Sequence[Record]
    owner: str
    trace_id: str
    taken: float
    expires: float
    leases: set[Hashable] = field(default_factory=set)
    task: "asyncio.Task[None] | None" = None
    decode_error: UndecodableError | None = None
    extension: asyncio.Event | None = None
    lost: bool = False
    relinquished: bool = False
    earlier_trace: str = ""

    @property
    def receipt(self) -> str:
        return self.received.receipt

    async def quiet(self) -> None:
        """Wait until no extension of it is under way. To be called when it is no longer held."""
        if self.extension:
            await self.extension.wait()

    def mark_lost(self) -> None:
        """Record that another worker may have it now, and cancel the work on it, which will not count."""
        self.lost = True
        if self.task:
            self.task.cancel()

    def relinquish(self) -> None:
        """Cancel the work on it and release it, although nothing is wrong: another worker goes on."""
        self.relinquished = True
        if self.task:
            self.task.cancel()
