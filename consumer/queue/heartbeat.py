"""Keeps messages ours while they are held: one scheduler per queue, for waiting and running ones alike.

Every beat extends all held messages, ten per request, and all their leases in one statement, well before half of
the timeout has passed. What is found lost is told to whoever works on it within that same beat.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from itertools import batched

import structlog

from consumer.queue.in_flight import HOLD_LIMIT, InFlightMessage
from media.aws.sqs import BATCH, MessageQueue
from media.errors import UnavailableError
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

BEAT_SHARE = 0.4
"""Of the visibility timeout; below half, so that one failed beat leaves time for others."""
RETRY_SHARE = 0.08
"""Of the visibility timeout, between two tries of an extension that failed."""
CALL_SHARE = 0.15
"""Of the visibility timeout, for one extension: two may hang, and the third is still in time, whatever the timeout."""
EXPIRY_MARGIN = 0.05
"""Of the visibility timeout, before its end, when a message counts as lost although nobody said so."""

Renew = Callable[[Sequence[Hashable]], Awaitable[set[Hashable]]]
"""Extends leases; returns those that are lost. Raises UnavailableError."""


class Heartbeat:
    """Extends what `held` returns. A delivery that is being settled is not in there any more."""

    def __init__(
        self,
        queue: MessageQueue,
        held: Callable[[], Collection[InFlightMessage]],
        renew: Renew,
        metrics: Metrics,
        *,
        timeout: int,
    ) -> None:
        self._queue = queue
        self._held = held
        self._renew = renew
        self._metrics = metrics
        self._timeout = timeout

    async def run(self) -> None:
        """For ever; ends by cancellation only."""
        pause = self._timeout * BEAT_SHARE
        while True:
            await asyncio.sleep(pause)
            began = time.monotonic()
            # What was extended was so from the beginning of its beat: a slow answer must not put off the next one.
            due = (
                began + self._timeout * BEAT_SHARE
                if await self._beat()
                else time.monotonic() + self._timeout * RETRY_SHARE
            )
            pause = max(0.0, due - time.monotonic())

    async def _beat(self) -> bool:
        """One beat. False when something could not be extended and has to be tried again soon."""
        self._hand_on()
        held = [message for message in self._held() if not (message.lost or message.relinquished)]
        if not held:
            return True
        # Marked before anybody else can run: who settles one of them from now on waits for the answer.
        batches = [(_mark(batch), batch) for batch in batched(held, BATCH)]
        results = await asyncio.gather(self._renew_leases(held), *(self._extend(*marked) for marked in batches))
        self._give_up()
        return all(results)

    async def _extend(self, answered: asyncio.Event, batch: Sequence[InFlightMessage]) -> bool:
        """One request."""
        try:
            return await self._extend_all({message.receipt: message for message in batch})
        finally:
            answered.set()
            for message in batch:
                message.extension = None

    async def _extend_all(self, by_receipt: dict[str, InFlightMessage]) -> bool:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout * CALL_SHARE):
                failures = await self._queue.change_visibility(dict.fromkeys(by_receipt, self._timeout))
        except (UnavailableError, TimeoutError) as error:
            self._count("error", len(by_receipt))
            log.warning("heartbeat.failed", queue=self._queue.name, error=str(error) or "no answer in time")
            return False
        for failure in failures:
            message = by_receipt.pop(failure.receipt)
            self._count("gone" if failure.gone else "failed", 1)
            if failure.gone and message in self._held():
                self._mark_lost(message, failure.code)
        for message in by_receipt.values():
            message.expires = asked + self._timeout
        self._count("ok", len(by_receipt))
        return all(failure.gone for failure in failures)

    async def _renew_leases(self, held: list[InFlightMessage]) -> bool:
        owners = {lease: message for message in held for lease in message.leases}
        if not owners:
            return True
        try:
            lost = await self._renew(list(owners))
        except Exception as error:  # noqa: BLE001 - whatever it is, the messages must go on being extended
            log.warning("heartbeat.leases_failed", queue=self._queue.name, error=repr(error))
            return False
        for lease in lost:
            if lease in owners[lease].leases:  # not committed or released meanwhile
                self._mark_lost(owners[lease], "lease")
        return True

    def _give_up(self) -> None:
        """Count as lost what could not be extended until shortly before its end."""
        limit = time.monotonic() + self._timeout * EXPIRY_MARGIN
        for message in list(self._held()):
            if message.expires <= limit:
                self._mark_lost(message, "expired")

    def _hand_on(self) -> None:
        """Put back what the next extension would hold beyond what SQS allows; it would refuse, and we would lose it."""
        for message in self._held():
            held_until = time.monotonic() - message.taken + self._timeout
            if held_until > HOLD_LIMIT and not message.relinquished:
                log.warning("heartbeat.relinquished", queue=self._queue.name, message_id=message.received.message_id)
                message.relinquish()

    def _mark_lost(self, message: InFlightMessage, reason: str) -> None:
        if not message.lost:
            log.warning("heartbeat.lost", queue=self._queue.name, message_id=message.received.message_id, reason=reason)
            self._metrics.lost.labels(self._queue.name).inc()
            message.mark_lost()

    def _count(self, result: str, messages: int) -> None:
        self._metrics.extensions.labels(self._queue.name, result).inc(messages)
        self._metrics.requests.labels(self._queue.name, "extend", "error" if result == "error" else "ok").inc()


def _mark(batch: Sequence[InFlightMessage]) -> asyncio.Event:
    """Says of each that a request about it is under way; the event is for its end."""
    answered = asyncio.Event()
    for message in batch:
        message.extension = answered
    return answered
