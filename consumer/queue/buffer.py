"""What one queue's workers hold: messages that wait for a slot and messages that run, within a bound.

Room is reserved before it is asked for at SQS, so that nothing is ever fetched that cannot be held. Among those that
wait, an owner who already has half of the slots stands back while another owner waits.
"""

import asyncio
from collections import Counter, deque

from consumer.queue.in_flight import InFlightMessage
from media.aws.sqs import BATCH
from media.telemetry import Metrics


class PrefetchBuffer:
    """At most `slots` messages run and at most `slots + prefetch` are held."""

    def __init__(self, queue: str, metrics: Metrics, *, slots: int, prefetch: int) -> None:
        self._slots = slots
        self._room = slots + prefetch
        self._waiting: deque[InFlightMessage] = deque()
        self._running: dict[InFlightMessage, None] = {}
        self._owners: Counter[str] = Counter()
        self._least = min(BATCH, max(1, prefetch))
        self._held_back = False
        self._roomy = asyncio.Event()
        self._roomy.set()
        metrics.in_flight.labels(queue, "waiting").set_function(lambda: len(self._waiting))
        metrics.in_flight.labels(queue, "running").set_function(lambda: len(self._running))

    @property
    def room(self) -> int:
        """How many more messages may be fetched."""
        return self._room

    def reserve(self, wanted: int) -> int:
        """Take up to `wanted` places; returns how many there were."""
        taken = min(wanted, self._room)
        self._room -= taken
        self._signal()
        return taken

    def give_up(self, places: int) -> None:
        """Return places that were reserved and not used."""
        self._room += places
        self._signal()

    def pause(self, on: bool) -> None:
        """While `on`, nothing more is to be received, whatever the room."""
        self._held_back = on
        self._signal()

    def put(self, message: InFlightMessage) -> None:
        """Take in a message, into a place reserved before."""
        self._waiting.append(message)

    def next(self) -> InFlightMessage | None:
        """The next message to run, now counted as running; None when no slot is free or nothing waits."""
        if len(self._running) >= self._slots or not self._waiting:
            return None
        message = self._fairest()
        self._waiting.remove(message)
        self._running[message] = None
        self._owners[message.owner] += 1
        return message

    def done(self, message: InFlightMessage) -> None:
        """A message is not ours to hold any more: settled, or lost."""
        if message in self._running:
            del self._running[message]
            self._owners[message.owner] -= 1
            if not self._owners[message.owner]:
                del self._owners[message.owner]
        else:
            self._waiting.remove(message)
        self.give_up(1)

    def waiting(self) -> list[InFlightMessage]:
        return list(self._waiting)

    def running(self) -> list[InFlightMessage]:
        return list(self._running)

    def held(self) -> list[InFlightMessage]:
        return [*self._waiting, *self._running]

    @property
    def has_room(self) -> asyncio.Event:
        """Set while a receive is worth its request: room for a whole batch (or all the prefetch there is).

        Never while held back.
        """
        return self._roomy

    def _signal(self) -> None:
        if self._room >= self._least and not self._held_back:
            self._roomy.set()
        else:
            self._roomy.clear()

    def _fairest(self) -> InFlightMessage:
        """The first that waits, unless its owner has half of the slots and somebody else waits too."""
        half = max(1, self._slots // 2)
        for message in self._waiting:
            if not message.owner or self._owners[message.owner] < half:
                return message
        return self._waiting[0]
