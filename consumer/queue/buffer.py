"""Holds one queue's messages, those that wait for a slot and those that run, within a bound.

The poller reserves room before it asks SQS, so that it never fetches a message that cannot be held. An owner who
already has half of the slots gets no other one while a message of another owner waits.
"""

import asyncio
from collections import Counter, deque

from consumer.queue.in_flight import InFlightMessage
from media.aws.sqs import BATCH
from media.telemetry import Metrics

ASIDE = 80
"""Messages that are put aside without a place: eight batches on their way."""


class PrefetchBuffer:
    """At most `slots` messages run, at most `slots + prefetch` are held, and ASIDE more are passed on."""

    def __init__(self, queue: str, metrics: Metrics, *, slots: int, prefetch: int) -> None:
        self._slots = slots
        self._room = slots + prefetch
        self._waiting: deque[InFlightMessage] = deque()
        self._running: dict[InFlightMessage, None] = {}
        self._aside: dict[InFlightMessage, bool] = {}
        self._owners: Counter[str] = Counter()
        self._least = min(BATCH, max(1, prefetch))
        self._paused = False
        self._has_room = asyncio.Event()
        self._has_room.set()
        metrics.in_flight.labels(queue, "waiting").set_function(lambda: len(self._waiting))
        metrics.in_flight.labels(queue, "running").set_function(lambda: len(self._running) + len(self._aside))

    @property
    def room(self) -> int:
        """Messages that may still be fetched."""
        return self._room

    def reserve(self, wanted: int) -> int:
        """Reserve up to `wanted` places; return how many there were. While paused there are none."""
        taken = 0 if self._paused else max(0, min(wanted, self._room))
        self._room -= taken
        self._signal()
        return taken

    def give_up(self, places: int) -> None:
        """Return places that were reserved and not used."""
        self._room += places
        self._signal()

    def pause(self, on: bool) -> None:
        """While `on`, report no room, however much there is."""
        self._paused = on
        self._signal()

    def put(self, message: InFlightMessage) -> None:
        """Add a message, in a place reserved before."""
        self._waiting.append(message)

    def put_aside(self, message: InFlightMessage) -> None:
        """Add a message that needs no slot. The first ASIDE of them give their place back, so that polling goes on."""
        occupies = len(self._aside) >= ASIDE
        self._aside[message] = occupies
        if not occupies:
            self.give_up(1)

    def readmit(self, message: InFlightMessage) -> None:
        """Let a message that was put aside wait for a slot after all."""
        if not self._aside.pop(message):
            self.give_up(-1)
        self._waiting.append(message)

    def next(self) -> InFlightMessage | None:
        """Start the next message and return it; None when no slot is free or nothing waits."""
        if len(self._running) >= self._slots or not self._waiting:
            return None
        half = max(1, self._slots // 2)
        for message in self._waiting:
            if not message.owner or self._owners[message.owner] < half:
                break
        else:  # every owner has its share
            message = self._waiting[0]
        self._waiting.remove(message)
        self._running[message] = None
        self._owners[message.owner] += 1
        return message

    def done(self, message: InFlightMessage) -> None:
        """Remove a message that is settled or lost."""
        if message in self._running:
            del self._running[message]
            self._owners[message.owner] -= 1
            if not self._owners[message.owner]:
                del self._owners[message.owner]
        elif message in self._aside:
            if not self._aside.pop(message):
                return
        else:
            self._waiting.remove(message)
        self.give_up(1)

    def waiting(self) -> list[InFlightMessage]:
        return list(self._waiting)

    def running(self) -> list[InFlightMessage]:
        """Return the messages that tasks work on, or will."""
        return [*self._running, *self._aside]

    def held(self) -> list[InFlightMessage]:
        return [*self._waiting, *self._running, *self._aside]

    @property
    def has_room(self) -> asyncio.Event:
        """The event that is set while there is room for a batch, or for all the prefetch; never while paused.

        A receive for fewer messages would not be worth its request.
        """
        return self._has_room

    def _signal(self) -> None:
        if self._room >= self._least and not self._paused:
            self._has_room.set()
        else:
            self._has_room.clear()
