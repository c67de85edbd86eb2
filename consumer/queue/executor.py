"""Runs one message: has each part handled, decides what becomes of it, and hands it to the settler.

This is the edge where every error becomes an outcome; nothing above raises, nothing below decides.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from consumer.queue.acknowledger import Settler
from consumer.queue.buffer import Inbox
from consumer.queue.circuit_breaker import Breakers
from consumer.queue.in_flight import Delivery, Part, Undecodable
from consumer.queue.outcome import Kind, Outcome, combined
from consumer.queue.retry import Failures, RetryPolicy, jittered
from media.aws.sqs import MessageQueue, Received
from media.errors import Code, RejectedError, RetryableError, UnavailableError, UndecodableError
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

LOST = Outcome(Kind.RELEASED, reason="lost before it began")

Handle = Callable[[Part, Delivery], Awaitable[Outcome]]
"""Handles one part of a message. May raise any error of `media.errors`, or anything unforeseen."""

UNAVAILABLE_DELAY = 2.0
"""Seconds before a message is visible again that met a dependency that is down; doubles with each of its receives."""
LONGEST_UNAVAILABLE_DELAY = 600.0
"""Else a dependency that answers its probe and nothing else would burn the queue's maxReceiveCount in minutes."""
LAST_RECEIVES = 18
"""Of the 20 after which SQS itself sets a message aside, without a word why: a failure so late is the last one."""


class Executor:
    """Executes the messages of one queue with one handler."""

    def __init__(
        self,
        queue: MessageQueue,
        dead: MessageQueue,
        handler: str,
        handle: Handle,
        *,
        inbox: Inbox,
        settler: Settler,
        breakers: Breakers,
        retry: RetryPolicy,
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self._dead = dead
        self._handle = handle
        self._inbox = inbox
        self._settler = settler
        self._breakers = breakers
        self._retry = retry
        self._failures = Failures()
        self._processed = {kind: metrics.processed.labels(queue.name, handler, kind) for kind in Kind}
        self._duration = metrics.duration.labels(queue.name, handler)
        self._dwell = metrics.dwell.labels(queue.name)

    async def run(self, delivery: Delivery) -> None:
        """From held to settled. Cancelled when the message is lost, handed on, or the daemon's patience ends."""
        structlog.contextvars.bind_contextvars(message_id=delivery.received.message_id, trace_id=delivery.trace_id)
        started = time.perf_counter()
        try:
            outcome = LOST if delivery.lost else await self._outcome(delivery)
        except asyncio.CancelledError:
            outcome = Outcome(Kind.RELEASED, 0.0, reason="lost" if delivery.lost else "interrupted")
        self._duration.observe(time.perf_counter() - started)
        await self.settle(delivery, outcome)

    async def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Give the message up: to the settler, or to nobody when it is lost already."""
        self._inbox.done(delivery)
        if not outcome.goes_back:
            self._failures.forget(delivery.received.message_id)
        self._processed[outcome.kind].inc()
        if delivery.received.sent:
            self._dwell.observe(max(0.0, time.time() - delivery.received.sent))
        if delivery.lost:
            return
        if outcome.goes_back:
            await self._settler.put_back(delivery, outcome.delay)
        else:
            await self._settler.delete(delivery)

    async def _outcome(self, delivery: Delivery) -> Outcome:
        if delivery.poison:
            return await self._bury(delivery, delivery.received.body, _poisoned(delivery.poison))
        if len(delivery.parts) > 1:
            return await self._parts(delivery)
        outcomes = [await self._part(part, delivery) for part in delivery.parts]
        if outcomes and outcomes[0].kind is Kind.DEAD:
            return await self._bury(delivery, delivery.received.body, outcomes[0])
        return combined(outcomes)

    async def _parts(self, delivery: Delivery) -> Outcome:
        """Each has its own outcome. Once something is found away, those that follow wait for it too."""
        outcomes: list[Outcome] = []
        for part in delivery.parts:
            structlog.contextvars.unbind_contextvars("asset_id")  # of the part before
            away = outcomes[-1] if outcomes and outcomes[-1].kind is Kind.RELEASED else None
            outcomes.append(away or await self._part(part, delivery))
        if all(outcome.goes_back for outcome in outcomes):
            return combined(outcomes)
        return await self._split(delivery, outcomes)

    async def _split(self, delivery: Delivery, outcomes: list[Outcome]) -> Outcome:
        """Parts go their own ways: what must be done again is sent on its own, so that the rest is not redone."""
        try:
            for part, outcome in zip(delivery.parts, outcomes, strict=True):
                if outcome.kind is Kind.DEAD:
                    await self._send_dead(delivery, part.body, outcome)
                elif outcome.goes_back:
                    owner = part.owner or delivery.received.group_id
                    await self._queue.send(part.body, group_id=owner, trace=_header(delivery), delay=int(outcome.delay))
        except UnavailableError as error:
            return self._unavailable(error, delivery.received.receive_count)
        return combined([outcome for outcome in outcomes if not outcome.goes_back])

    async def _part(self, part: Part, delivery: Delivery) -> Outcome:
        try:
            return await self._handle(_sound(part), delivery)
        except UnavailableError as error:
            return self._unavailable(error, delivery.received.receive_count)
        except UndecodableError as error:
            return _poisoned(error)
        except RejectedError as error:
            log.info("message.rejected", code=error.code, detail=error.detail)
            return Outcome(Kind.REJECTED, error=error.code, reason=error.detail)
        except RetryableError as error:
            return self.retried(error, delivery.received)
        except Exception as error:
            log.exception("message.unforeseen")
            return self.retried(RetryableError(Code.UNFORESEEN, repr(error)), delivery.received)

    def retried(self, error: RetryableError, received: Received) -> Outcome:
        """Again later, or never again when this failure was the last one allowed."""
        tries = self._failures.add(received.message_id) if error.counted else received.receive_count
        if error.counted and (self._retry.exhausted(tries) or received.receive_count >= LAST_RECEIVES):
            return Outcome(Kind.DEAD, error=error.code, reason=error.detail)
        delay = error.after if error.after is not None else self._retry.delay(tries)
        if not error.counted:  # waits longer and longer, or the queue's maxReceiveCount would end the waiting
            delay = min(self._retry.cap, delay * 2.0 ** min(tries - 1, 16))
        log.warning("message.retry", code=error.code, detail=error.detail, tries=tries, delay=round(delay, 1))
        return Outcome(Kind.RETRY, delay, error=error.code, reason=error.detail)

    def _unavailable(self, error: UnavailableError, receives: int) -> Outcome:
        log.warning("message.put_back", dependency=error.dependency, error=error.detail)
        self._breakers.trip(error.dependency)
        delay = min(LONGEST_UNAVAILABLE_DELAY, UNAVAILABLE_DELAY * 2.0 ** min(receives - 1, 16))
        return Outcome(Kind.RELEASED, jittered(delay, share=1.0), error=str(error.dependency))

    async def _bury(self, delivery: Delivery, body: str, outcome: Outcome) -> Outcome:
        try:
            await self._send_dead(delivery, body, outcome)
        except UnavailableError as error:
            return self._unavailable(error, delivery.received.receive_count)
        return outcome

    async def _send_dead(self, delivery: Delivery, body: str, outcome: Outcome) -> None:
        log.error("message.dead", error=outcome.error, reason=outcome.reason)
        first = delivery.received.first_received or time.time()
        attributes = {
            "error": outcome.error,
            "reason": outcome.reason,
            "source-queue": self._queue.name,
            "first-received": f"{first:.3f}",
        }
        await self._dead.send(body, group_id=delivery.received.group_id, attributes=attributes, trace=_header(delivery))


def _sound(part: Part) -> Part:
    """Raises what made it undecodable."""
    if isinstance(part, Undecodable):
        raise part.error
    return part


def _header(delivery: Delivery) -> str:
    """The trace, where it is one that SQS takes as a header: X-Ray's."""
    return delivery.trace_id if delivery.trace_id.startswith("Root=") else ""


def _poisoned(error: UndecodableError) -> Outcome:
    return Outcome(Kind.DEAD, error=error.code, reason=error.detail)
