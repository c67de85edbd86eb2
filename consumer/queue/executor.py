"""Runs one message: handles its records, decides its outcome, and hands it to the acknowledger.

Every error becomes an outcome here. Callers see no exception, and handlers decide nothing about the queue.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from consumer.queue.acknowledger import Acknowledger
from consumer.queue.buffer import PrefetchBuffer
from consumer.queue.circuit_breaker import Breakers
from consumer.queue.in_flight import InFlightMessage, Record, UndecodableRecord
from consumer.queue.outcome import IGNORED, Outcome, OutcomeKind, combine, combine_dead
from consumer.queue.regrouper import Regroup
from consumer.queue.retry import FailureCounts, PostponedMessages, RetryPolicy, jittered
from media.aws.sqs import BatchSender, MessageQueue, NewMessage, Received, text_attributes
from media.errors import Code, Dependency, RejectedError, RetryableError, UnavailableError, UndecodableError
from media.telemetry import Metrics, exemplar

log = structlog.get_logger(__name__)

INTERRUPTED = Outcome(OutcomeKind.RELEASED, 0.0, reason="interrupted")
LOST_BEFORE_START = Outcome(OutcomeKind.RELEASED, reason="lost before it started")

DONE = frozenset({OutcomeKind.SUCCESS, OutcomeKind.REJECTED, OutcomeKind.DEAD, OutcomeKind.IGNORED})
"""Outcomes that end a message's work. A duplicate has none, and a requeued message is measured at its end."""

RecordHandler = Callable[[Record, InFlightMessage], Awaitable[Outcome]]
"""Handles one record of a message. May raise any error of `media.errors`, or anything unforeseen."""

UNAVAILABLE_DELAY = 2.0
"""Seconds for which a message is released when a dependency is away; doubles with each receive of it."""
MAX_UNAVAILABLE_DELAY = 600.0
"""Seconds for which such a message is released at most.

It is long, because a dependency that answers only its probe would use up the queue's maxReceiveCount in minutes. Once
the dependency is back, what was released for long is recalled.
"""
RECALL_DELAY = 2.0
"""Seconds over which the messages that are recalled become visible."""
GIVE_UP_RECEIVES = 18
"""Receives of a message, from which on its next failure is the last one.

SQS moves a message to the dead letters after 20 receives and records no reason. Give up before, so that ours is
recorded.
"""


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
        self._dead_letters = BatchSender(dead)
        self._retries = BatchSender(queue)
        self._handle = handle
        self._buffer = buffer
        self._acknowledger = acknowledger
        self._breakers = breakers
        self._policy = retry
        self._failures = FailureCounts()
        self._postponed = PostponedMessages()
        self._processed = {kind: metrics.processed.labels(queue.name, handler, kind) for kind in OutcomeKind}
        self._duration = metrics.duration.labels(queue.name, handler)
        self._dwell = metrics.dwell.labels(queue.name)

    async def run(self, message: InFlightMessage) -> None:
        """Handle a message and settle it. Canceled when the message is lost or relinquished."""
        structlog.contextvars.bind_contextvars(message_id=message.received.message_id, trace_id=message.trace_id)
        started = time.perf_counter()
        try:
            outcome = LOST_BEFORE_START if message.lost else await self._outcome(message)
        except asyncio.CancelledError:
            outcome = INTERRUPTED
        trace = exemplar(message.earlier_trace or message.trace_id)
        self._duration.observe(time.perf_counter() - started, trace)
        await self.settle(message, outcome, trace)

    async def regroup(self, batch: Sequence[InFlightMessage], regroup: Regroup) -> Sequence[InFlightMessage]:
        """Pass messages on and settle them. Returns those that must be handled here.

        When it is canceled, they are left to whoever started it.
        """
        messages = [message for message in batch if not message.lost]
        outcomes: Sequence[Outcome | None]
        try:
            outcomes = await regroup(messages)
        except UnavailableError as error:
            outcomes = [self._unavailable(error, message.received.receive_count) for message in messages]
        except Exception as error:
            log.exception("message.unforeseen")
            unforeseen = RetryableError(Code.UNFORESEEN, repr(error))
            outcomes = [self.retry_or_give_up(unforeseen, message.received) for message in messages]
        for message, outcome in zip(messages, outcomes, strict=True):
            if outcome:
                await self.settle(message, outcome)
        for message in batch:
            if message.lost and message not in messages:
                await self.settle(message, LOST_BEFORE_START)
        return [message for message, outcome in zip(messages, outcomes, strict=True) if not outcome]

    async def settle(self, message: InFlightMessage, outcome: Outcome, trace: dict[str, str] | None = None) -> None:
        """Hand a message over to the acknowledger, unless it is lost, and count it."""
        self._buffer.done(message)
        requeues = outcome.requeues
        if not requeues:
            self._failures.forget(message.received.message_id)
        self._processed[outcome.kind].inc()
        if message.received.sent and outcome.kind in DONE:
            self._dwell.observe(max(0.0, time.time() - message.received.sent), trace)
        if message.lost:
            return
        if not requeues:
            await self._acknowledger.delete(message)
            return
        if _awaits_dependency(outcome):
            self._postponed.add(message, Dependency(outcome.error), outcome.delay)
        await self._acknowledger.release(message, outcome.delay)

    async def recall(self, dependency: Dependency) -> None:
        """Make the messages visible that were released for long because of a dependency, which is back."""
        for message in self._postponed.take(dependency):
            await self._acknowledger.release(message, random.uniform(0.0, RECALL_DELAY))  # noqa: S311 - spreading load

    async def _outcome(self, message: InFlightMessage) -> Outcome:
        if message.decode_error:
            return await self._dead_letter(message, message.received.body, _undecodable(message.decode_error))
        if len(message.records) > 1:
            return await self._handle_records(message)
        outcome = await self._handle_record(message.records[0], message) if message.records else IGNORED
        if outcome.kind is OutcomeKind.DEAD:
            return await self._dead_letter(message, message.received.body, outcome)
        return outcome

    async def _handle_records(self, message: InFlightMessage) -> Outcome:
        """Handle several records, each with its own outcome. Once a dependency is away, all that follow wait for it."""
        outcomes: list[Outcome] = []
        for record in message.records:
            structlog.contextvars.unbind_contextvars("asset_id")  # of the record before
            away = outcomes[-1] if outcomes and _awaits_dependency(outcomes[-1]) else None
            outcomes.append(away or await self._handle_record(record, message))
        if all(_awaits_dependency(outcome) or outcome.kind is OutcomeKind.RETRY for outcome in outcomes):
            return combine(outcomes)
        return await self._send_retries(message, outcomes)

    async def _send_retries(self, message: InFlightMessage, outcomes: list[Outcome]) -> Outcome:
        """Send each record that must be retried as a message of its own, so that the others are not handled again."""
        dead: list[tuple[str, Outcome]] = []
        retries: list[NewMessage] = []
        for record, outcome in zip(message.records, outcomes, strict=True):
            if outcome.kind is OutcomeKind.DEAD:
                dead.append((record.body, outcome))
            elif outcome.requeues:
                owner = record.owner or message.received.group_id
                retries.append(NewMessage(record.body, owner, trace=_trace_header(message), delay=int(outcome.delay)))
        if len(dead) > 1:  # one letter: 1,000 records that somebody forged would hide the others
            dead = [(message.received.body, combine_dead([outcome for _, outcome in dead], len(outcomes)))]
        try:
            await self._dead_letters.send([self._dead_letter_of(message, *letter) for letter in dead])
            await self._retries.send(retries)
        except UnavailableError as error:
            return self._unavailable(error, message.received.receive_count)
        return combine([outcome for outcome in outcomes if not outcome.requeues])

    async def _handle_record(self, record: Record, message: InFlightMessage) -> Outcome:  # noqa: PLR0911 - one for each error
        if isinstance(record, UndecodableRecord):
            return _undecodable(record.error)
        try:
            return await self._handle(record, message)
        except UnavailableError as error:
            return self._unavailable(error, message.received.receive_count)
        except UndecodableError as error:
            return _undecodable(error)
        except RejectedError as error:
            log.info("message.rejected", code=error.code, detail=error.detail)
            return Outcome(OutcomeKind.REJECTED, error=error.code, reason=error.detail)
        except RetryableError as error:
            return self.retry_or_give_up(error, message.received)
        except Exception as error:
            log.exception("message.unforeseen")
            return self.retry_or_give_up(RetryableError(Code.UNFORESEEN, repr(error)), message.received)

    def retry_or_give_up(self, error: RetryableError, received: Received) -> Outcome:
        """Retry later, or give up when this was the last attempt allowed."""
        tries = self._failures.add(received.message_id) if error.counts_as_attempt else received.receive_count
        if error.counts_as_attempt and (self._policy.exhausted(tries) or received.receive_count >= GIVE_UP_RECEIVES):
            return Outcome(OutcomeKind.DEAD, error=error.code, reason=error.detail)
        delay = error.retry_after if error.retry_after is not None else self._policy.delay(tries)
        if not error.counts_as_attempt:  # growing delays, or the queue's maxReceiveCount would end the waiting
            delay = min(self._policy.cap, delay * 2.0 ** min(tries - 1, 16))
        log.warning("message.retry", code=error.code, detail=error.detail, tries=tries, delay=round(delay, 1))
        return Outcome(OutcomeKind.RETRY, delay, error=error.code, reason=error.detail)

    def _unavailable(self, error: UnavailableError, receives: int) -> Outcome:
        log.warning("message.released", dependency=error.dependency, error=error.detail)
        self._breakers.trip(error.dependency)
        delay = min(MAX_UNAVAILABLE_DELAY, UNAVAILABLE_DELAY * 2.0 ** min(receives - 1, 16))
        return Outcome(OutcomeKind.RELEASED, jittered(delay, share=1.0), error=str(error.dependency))

    async def _dead_letter(self, message: InFlightMessage, body: str, outcome: Outcome) -> Outcome:
        try:
            await self._dead_letters.send([self._dead_letter_of(message, body, outcome)])
        except UnavailableError as error:
            return self._unavailable(error, message.received.receive_count)
        return outcome

    def _dead_letter_of(self, message: InFlightMessage, body: str, outcome: Outcome) -> NewMessage:
        log.error("message.dead", error=outcome.error, reason=outcome.reason)
        first = message.received.first_received or time.time()
        attributes = {
            "error": outcome.error,
            "reason": outcome.reason,
            "source-queue": self._queue.name,
            "first-received": f"{first:.3f}",
        }
        return NewMessage(body, message.received.group_id, text_attributes(attributes), _trace_header(message))


def _trace_header(message: InFlightMessage) -> str:
    """Return the trace as SQS takes it, which is X-Ray's form; else nothing."""
    return message.trace_id if message.trace_id.startswith("Root=") else ""


def _awaits_dependency(outcome: Outcome) -> bool:
    """Return whether a record waits for a dependency, as all others will, and not for another worker."""
    return outcome.kind is OutcomeKind.RELEASED and bool(outcome.error)


def _undecodable(error: UndecodableError) -> Outcome:
    return Outcome(OutcomeKind.DEAD, error=error.code, reason=error.detail)
