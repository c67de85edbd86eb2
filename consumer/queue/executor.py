"""Runs one message: has each part handled, decides what becomes of it, and hands it to the settler.

This is the edge where every error becomes an outcome; nothing above raises, nothing below decides.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from consumer.queue.acknowledger import Acknowledger
from consumer.queue.buffer import PrefetchBuffer
from consumer.queue.circuit_breaker import Breakers
from consumer.queue.in_flight import InFlightMessage, Record, UndecodableRecord
from consumer.queue.outcome import Outcome, OutcomeKind, combined
from consumer.queue.retry import FailureCounts, RetryPolicy, jittered
from media.aws.sqs import MessageQueue, Received
from media.errors import Code, RejectedError, RetryableError, UnavailableError, UndecodableError
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

LOST_BEFORE_START = Outcome(OutcomeKind.RELEASED, reason="lost before it began")

RecordHandler = Callable[[Record, InFlightMessage], Awaitable[Outcome]]
"""Handles one part of a message. May raise any error of `media.errors`, or anything unforeseen."""

UNAVAILABLE_DELAY = 2.0
"""Seconds before a message is visible again that met a dependency that is down; doubles with each of its receives."""
MAX_UNAVAILABLE_DELAY = 600.0
"""Else a dependency that answers its probe and nothing else would burn the queue's maxReceiveCount in minutes."""
GIVE_UP_RECEIVES = 18
"""Of the 20 after which SQS itself sets a message aside, without a word why: a failure so late is the last one."""


class Executor:
    """Executes the messages of one queue with one handler."""

    def __init__(
        self,
        queue: MessageQueue,
        dead: MessageQueue,
        handler: str,
        handle: RecordHandler,
        *,
        buffer: PrefetchBuffer,
        acknowledger: Acknowledger,
        breakers: Breakers,
        retry: RetryPolicy,
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self._dead = dead
        self._handle = handle
        self._buffer = buffer
        self._acknowledger = acknowledger
        self._breakers = breakers
        self._retry = retry
        self._failures = FailureCounts()
        self._processed = {kind: metrics.processed.labels(queue.name, handler, kind) for kind in OutcomeKind}
        self._duration = metrics.duration.labels(queue.name, handler)
        self._dwell = metrics.dwell.labels(queue.name)

    async def run(self, message: InFlightMessage) -> None:
        """From held to settled. Cancelled when the message is lost, handed on, or the daemon's patience ends."""
        structlog.contextvars.bind_contextvars(message_id=message.received.message_id, trace_id=message.trace_id)
        started = time.perf_counter()
        try:
            outcome = LOST_BEFORE_START if message.lost else await self._outcome(message)
        except asyncio.CancelledError:
            outcome = Outcome(OutcomeKind.RELEASED, 0.0, reason="lost" if message.lost else "interrupted")
        self._duration.observe(time.perf_counter() - started)
        await self.settle(message, outcome)

    async def settle(self, message: InFlightMessage, outcome: Outcome) -> None:
        """Give the message up: to the settler, or to nobody when it is lost already."""
        self._buffer.done(message)
        if not outcome.requeues:
            self._failures.forget(message.received.message_id)
        self._processed[outcome.kind].inc()
        if message.received.sent:
            self._dwell.observe(max(0.0, time.time() - message.received.sent))
        if message.lost:
            return
        if outcome.requeues:
            await self._acknowledger.release(message, outcome.delay)
        else:
            await self._acknowledger.delete(message)

    async def _outcome(self, message: InFlightMessage) -> Outcome:
        if message.decode_error:
            return await self._dead_letter(message, message.received.body, _poisoned(message.decode_error))
        if len(message.records) > 1:
            return await self._records(message)
        outcomes = [await self._record(record, message) for record in message.records]
        if outcomes and outcomes[0].kind is OutcomeKind.DEAD:
            return await self._dead_letter(message, message.received.body, outcomes[0])
        return combined(outcomes)

    async def _records(self, message: InFlightMessage) -> Outcome:
        """Each has its own outcome. Once something is found away, those that follow wait for it too."""
        outcomes: list[Outcome] = []
        for record in message.records:
            structlog.contextvars.unbind_contextvars("asset_id")  # of the part before
            away = outcomes[-1] if outcomes and outcomes[-1].kind is OutcomeKind.RELEASED else None
            outcomes.append(away or await self._record(record, message))
        if all(outcome.requeues for outcome in outcomes):
            return combined(outcomes)
        return await self._split(message, outcomes)

    async def _split(self, message: InFlightMessage, outcomes: list[Outcome]) -> Outcome:
        """Parts go their own ways: what must be done again is sent on its own, so that the rest is not redone."""
        try:
            for record, outcome in zip(message.records, outcomes, strict=True):
                if outcome.kind is OutcomeKind.DEAD:
                    await self._send_dead(message, record.body, outcome)
                elif outcome.requeues:
                    owner = record.owner or message.received.group_id
                    await self._queue.send(
                        record.body, group_id=owner, trace=_header(message), delay=int(outcome.delay)
                    )
        except UnavailableError as error:
            return self._unavailable(error, message.received.receive_count)
        return combined([outcome for outcome in outcomes if not outcome.requeues])

    async def _record(self, record: Record, message: InFlightMessage) -> Outcome:
        try:
            return await self._handle(_sound(record), message)
        except UnavailableError as error:
            return self._unavailable(error, message.received.receive_count)
        except UndecodableError as error:
            return _poisoned(error)
        except RejectedError as error:
            log.info("message.rejected", code=error.code, detail=error.detail)
            return Outcome(OutcomeKind.REJECTED, error=error.code, reason=error.detail)
        except RetryableError as error:
            return self.retried(error, message.received)
        except Exception as error:
            log.exception("message.unforeseen")
            return self.retried(RetryableError(Code.UNFORESEEN, repr(error)), message.received)

    def retried(self, error: RetryableError, received: Received) -> Outcome:
        """Again later, or never again when this failure was the last one allowed."""
        tries = self._failures.add(received.message_id) if error.counts_as_attempt else received.receive_count
        if error.counts_as_attempt and (self._retry.exhausted(tries) or received.receive_count >= GIVE_UP_RECEIVES):
            return Outcome(OutcomeKind.DEAD, error=error.code, reason=error.detail)
        delay = error.retry_after if error.retry_after is not None else self._retry.delay(tries)
        if not error.counts_as_attempt:  # waits longer and longer, or the queue's maxReceiveCount would end the waiting
            delay = min(self._retry.cap, delay * 2.0 ** min(tries - 1, 16))
        log.warning("message.retry", code=error.code, detail=error.detail, tries=tries, delay=round(delay, 1))
        return Outcome(OutcomeKind.RETRY, delay, error=error.code, reason=error.detail)

    def _unavailable(self, error: UnavailableError, receives: int) -> Outcome:
        log.warning("message.put_back", dependency=error.dependency, error=error.detail)
        self._breakers.trip(error.dependency)
        delay = min(MAX_UNAVAILABLE_DELAY, UNAVAILABLE_DELAY * 2.0 ** min(receives - 1, 16))
        return Outcome(OutcomeKind.RELEASED, jittered(delay, share=1.0), error=str(error.dependency))

    async def _dead_letter(self, message: InFlightMessage, body: str, outcome: Outcome) -> Outcome:
        try:
            await self._send_dead(message, body, outcome)
        except UnavailableError as error:
            return self._unavailable(error, message.received.receive_count)
        return outcome

    async def _send_dead(self, message: InFlightMessage, body: str, outcome: Outcome) -> None:
        log.error("message.dead", error=outcome.error, reason=outcome.reason)
        first = message.received.first_received or time.time()
        attributes = {
            "error": outcome.error,
            "reason": outcome.reason,
            "source-queue": self._queue.name,
            "first-received": f"{first:.3f}",
        }
        await self._dead.send(body, group_id=message.received.group_id, attributes=attributes, trace=_header(message))


def _sound(record: Record) -> Record:
    """Raises what made it undecodable."""
    if isinstance(record, UndecodableRecord):
        raise record.error
    return record


def _header(message: InFlightMessage) -> str:
    """The trace, where it is one that SQS takes as a header: X-Ray's."""
    return message.trace_id if message.trace_id.startswith("Root=") else ""


def _poisoned(error: UndecodableError) -> Outcome:
    return Outcome(OutcomeKind.DEAD, error=error.code, reason=error.detail)
