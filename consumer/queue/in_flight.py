"""A message that we hold: what was received, who works on it, and whether it is still ours."""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from media.aws.sqs import Received
from media.errors import UndecodableError

HOLD_LIMIT = 12 * 3600 - 300
"""Seconds that a message is held at most: SQS lets nobody extend beyond twelve hours after the receive."""


class Record(Protocol):
    """One thing that a message asks for."""

    @property
    def owner(self) -> str:
        """The tenant, for fairness; empty where nobody is known."""
        ...

    @property
    def body(self) -> str:
        """This part as a message of its own, for when it must go another way than the others."""
        ...


@dataclass(frozen=True, slots=True)
class UndecodableRecord:
    """A part that says nothing to us, beside others that do: it alone is set aside."""

    error: UndecodableError
    body: str
    owner: str = ""


@dataclass(eq=False, slots=True)
class InFlightMessage:
    """One message in our hands. `expires` is when it becomes visible to others, by the loop's monotonic clock.

    `extension` is set while a heartbeat's request about it is under way. `leases` are whatever its work holds beside
    the message; the heartbeat hands them to its `renew` callback and knows nothing else of them.
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

    @property
    def receipt(self) -> str:
        return self.received.receipt

    async def quiet(self) -> None:
        """Until no heartbeat's request about it is under way; for whoever has taken it out of what is held."""
        if self.extension:
            await self.extension.wait()

    def mark_lost(self) -> None:
        """It is not ours any more: whoever works on it stops, and what they did will not count."""
        self.lost = True
        if self.task:
            self.task.cancel()

    def relinquish(self) -> None:
        """Stop working on it and put it back, although nothing is wrong: another worker goes on."""
        self.relinquished = True
        if self.task:
            self.task.cancel()
