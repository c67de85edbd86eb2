"""Extends the visibility of held messages: one scheduler for each queue, for waiting and running messages alike.

Every beat extends all held messages, ten in a request, and all their leases in one statement, well before half of
the timeout has passed. A message that is found lost has its work canceled within that same beat.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from itertools import batched

import structlog

from consumer.queue.in_flight import HOLD_LIMIT, InFlightMessage
from consumer.queue.part_health import PartHealth
from media.aws.sqs import BATCH, MessageQueue
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

BEAT_SHARE = 0.4
"""Pause between two beats, as a share of the visibility timeout. Below half: one failed beat leaves time for more."""
RETRY_SHARE = 0.08
"""Pause before an extension that failed is tried again, as a share of the visibility timeout."""
CALL_SHARE = 0.15
"""Deadline of one extension, as a share of the visibility timeout: two may hang, and the third is still in time."""
EXPIRY_MARGIN = 0.05
"""How long before its expiry a message counts as lost, as a share of the visibility timeout."""

Renew = Callable[[Sequence[Hashable]], Awaitable[set[Hashable]]]
"""Renews leases; returns those that are lost. Raises UnavailableError."""


class Heartbeat:
    """Extends the messages that `held` returns, which leaves out those that are being settled."""

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
        self.health = PartHealth(f"heartbeat of {queue.name}")

    async def run(self) -> None:
        """Beat until canceled."""
        pause = self._timeout * BEAT_SHARE
        while True:
            await asyncio.sleep(pause)
            began = time.monotonic()
            try:
                all_extended = await self._beat()
            except Exception as error:
                self.health.failed(error)
                log.exception("heartbeat.unforeseen", queue=self._queue.name)
                all_extended = False
            # Count from the beginning of the beat: a slow response must not put off the next beat.
            due = began + self._timeout * BEAT_SHARE if all_extended else time.monotonic() + self._timeout * RETRY_SHARE
            pause = max(0.0, due - time.monotonic())

    async def _beat(self) -> bool:
        """Extend everything once. Return False when something could not be extended and must be tried again soon."""
        for message in self._held():
            # SQS would refuse an extension beyond what it allows, and the message would be lost.
            held_until = time.monotonic() - message.taken + self._timeout
            if held_until > HOLD_LIMIT and not message.relinquished:
                log.warning("heartbeat.relinquished", queue=self._queue.name, message_id=message.received.message_id)
                message.relinquish()
        held = [message for message in self._held() if not (message.lost or message.relinquished)]
        if not held:
            return True
        batches = list(batched(held, BATCH))
        # Marked before any other task runs: one that settles a message from now on waits for the response.
        for batch in batches:
            extended = asyncio.Event()
            for message in batch:
                message.extension = extended
        results = await asyncio.gather(self._renew_leases(held), *map(self._extend, batches))
        limit = time.monotonic() + self._timeout * EXPIRY_MARGIN
        for message in list(self._held()):
            if message.expires <= limit:
                self._mark_lost(message, "expired")
        return all(results)

    async def _extend(self, batch: Sequence[InFlightMessage]) -> bool:
        """Send one request. Return False when a message that may still be ours was not extended."""
        by_receipt, asked = {message.receipt: message for message in batch}, time.monotonic()
        try:
            async with asyncio.timeout(self._timeout * CALL_SHARE):
                failures = await self._queue.change_visibility(dict.fromkeys(by_receipt, self._timeout))
        except Exception as error:
            trace = self.health.failed(error)
            self._count_request("error")
            self._count("error", len(by_receipt))
            log.warning("heartbeat.failed", queue=self._queue.name, error=str(error) or repr(error), exc_info=trace)
            return False
        else:
            self.health.succeeded()
            self._count_request("ok")
            for failure in failures:
                message = by_receipt.pop(failure.receipt)
                self._count("gone" if failure.gone else "failed", 1)
                if failure.gone and message in self._held():
                    self._mark_lost(message, failure.code)
            for message in by_receipt.values():
                message.expires = asked + self._timeout
            self._count("ok", len(by_receipt))
            return all(failure.gone for failure in failures)
        finally:
            for message in batch:
                if message.extension:
                    message.extension.set()
                message.extension = None

    async def _renew_leases(self, held: list[InFlightMessage]) -> bool:
        owners = {lease: message for message in held for lease in message.leases}
        if not owners:
            return True
        try:
            lost = await self._renew(list(owners))
        except Exception as error:  # noqa: BLE001 - whatever fails, the messages must still be extended
            log.warning("heartbeat.leases_failed", queue=self._queue.name, error=repr(error))
            return False
        for lease in lost:
            if lease in owners[lease].leases:  # else it was committed or released meanwhile
                self._mark_lost(owners[lease], "lease")
        return True

    def _mark_lost(self, message: InFlightMessage, reason: str) -> None:
        if not message.lost:
            log.warning("heartbeat.lost", queue=self._queue.name, message_id=message.received.message_id, reason=reason)
            self._metrics.lost.labels(self._queue.name).inc()
            message.mark_lost()

    def _count(self, result: str, messages: int) -> None:
        self._metrics.extensions.labels(self._queue.name, result).inc(messages)

    def _count_request(self, result: str) -> None:
        self._metrics.requests.labels(self._queue.name, "extend", result).inc()
