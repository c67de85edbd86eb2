"""Drains one queue: poller, buffer, executor, heartbeat and acknowledger, started and stopped together."""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from consumer.queue.acknowledger import Acknowledger
from consumer.queue.buffer import PrefetchBuffer
from consumer.queue.circuit_breaker import Breakers
from consumer.queue.executor import Executor, RecordHandler
from consumer.queue.heartbeat import Heartbeat, Renew
from consumer.queue.in_flight import InFlightMessage, Record
from consumer.queue.outcome import Outcome, OutcomeKind
from consumer.queue.part_health import PartHealth
from consumer.queue.poller import Poller
from consumer.queue.regrouper import Regroup, Regrouper
from consumer.queue.retry import RetryPolicy
from media.aws.sqs import MessageQueue, Received
from media.errors import Code, Dependency, UndecodableError
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

DRAINED = Outcome(OutcomeKind.RELEASED, 0.0, reason="draining")

Decode = Callable[[str], Sequence[Record]]
"""Turns a body into records; one without records is ignored. Raises UndecodableError."""


@dataclass(frozen=True, slots=True)
class Route:
    """Ties a queue to a decoder and a handler. The queue pauses while one of the dependencies in `needs` is away.

    `regroup` passes on the messages of an owner who floods the queue with messages that name no tenant.
    """

    queue: str
    handler: str
    decode: Decode
    handle: RecordHandler
    needs: Collection[Dependency]
    regroup: Regroup | None = None


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Bounds of a queue worker. `visibility` and `wait`, of a long poll, are in seconds."""

    concurrency: int = 10
    prefetch: int = 20  # two batches, so that one slow message does not delay the next receive
    pollers: int = 4
    visibility: int = 60
    wait: int = 20


class QueueWorker:
    """Drains one queue along one route."""

    def __init__(
        self,
        route: Route,
        queue: MessageQueue,
        dead: MessageQueue,
        renew: Renew,
        breakers: Breakers,
        retry: RetryPolicy,
        metrics: Metrics,
        limits: WorkerLimits,
    ) -> None:
        self.route = route
        self._limits = limits
        self._breakers = breakers
        self._received = metrics.received.labels(queue.name)
        self._buffer = PrefetchBuffer(queue.name, metrics, slots=limits.concurrency, prefetch=limits.prefetch)
        self._acknowledger = Acknowledger(queue, metrics, self._buffer.pause)
        self._executor = Executor(
            queue,
            dead,
            route.handler,
            route.handle,
            buffer=self._buffer,
            acknowledger=self._acknowledger,
            breakers=breakers,
            retry=retry,
            metrics=metrics,
        )
        self._heartbeat = Heartbeat(queue, self._buffer.held, renew, metrics, timeout=limits.visibility)
        self.poller = Poller(
            queue,
            self._buffer,
            self._accept,
            breakers,
            route.needs,
            metrics,
            wait=limits.wait,
            visibility=limits.visibility,
            most=limits.pollers,
        )
        breakers.on_recovery(self.recall)
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._context: Context | None = None
        self._regrouper: Regrouper | None = None
        if route.regroup:
            regroup = partial(self._executor.regroup, regroup=route.regroup)
            self._regrouper = Regrouper(self._buffer, regroup, self._start, self._begin_waiting)

    @property
    def health(self) -> tuple[PartHealth, ...]:
        """The health of the parts that talk to SQS."""
        return self.poller.health, self._heartbeat.health, self._acknowledger.health

    @property
    def trouble(self) -> str:
        """Why messages cannot be received or settled; an empty text while they can."""
        if self.poller.errors > 1:
            return f"{self.route.queue} cannot be received from"
        return f"messages of {self.route.queue} cannot be acknowledged" if self._acknowledger.is_failing else ""

    @property
    def busy(self) -> bool:
        return bool(self._buffer.held() or self._tasks)

    @property
    def in_flight(self) -> int:
        """Messages held, waiting or running."""
        return len(self._buffer.held())

    async def run(self) -> None:
        """Work until drained."""
        structlog.contextvars.bind_contextvars(queue=self.route.queue)  # every message's task begins with a copy
        self._context = copy_context()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._acknowledger.run())
            heartbeat = group.create_task(self._heartbeat.run())
            try:
                await self.poller.run()
                while self._tasks:
                    await asyncio.wait(self._tasks)
            finally:
                self._draining = True  # no task may be started that nothing would wait for
                if self._regrouper:
                    self._regrouper.stop()
                for task in self._tasks:  # only when this worker is canceled: none of its tasks may live on
                    task.cancel()
                heartbeat.cancel()
                self._acknowledger.close()

    def offer(self, received: Received) -> bool:
        """Take a message that came another way than from the poller, if there is a place for it. Returns whether.

        It waits behind those that were received before.
        """
        if self._context is None or self._draining or self._breakers.open(self.route.needs):
            return False
        if not self._buffer.reserve(1):
            return False
        self._context.run(self._accept, received)  # its log lines name this queue, not the caller's
        return True

    def drain(self) -> "asyncio.Task[None]":
        """Stop receiving, and begin to release what waits and what still arrives. What runs goes on.

        From the call on no message is started. `run` waits for the task that is returned.
        """
        self._draining = True
        self.poller.stop()
        if self._regrouper:
            self._regrouper.stop()
        return self._start(self._release_waiting())

    def interrupt(self) -> None:
        """Cancel the messages that still run, and release them."""
        for message in self._buffer.running():
            message.relinquish()

    def _accept(self, received: Received) -> None:
        self._received.inc()
        message = self._decode(received)
        if self._regrouper and self._regrouper.takes(message):
            return
        self._buffer.put(message)
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        if self._draining:
            self._start(self._release_waiting())
        else:
            self._dispatch()

    async def _release_waiting(self) -> None:
        # Read the buffer anew each time: meanwhile another call may have released the message.
        while waiting := self._buffer.waiting():
            await self._executor.settle(waiting[0], DRAINED)

    def _decode(self, received: Received) -> InFlightMessage:
        records: Sequence[Record] = ()
        decode_error: UndecodableError | None = None
        now = time.monotonic()
        try:
            records = self.route.decode(received.body)
        except UndecodableError as error:
            decode_error = error
        except Exception as error:
            log.exception("worker.decoder_failed", queue=self.route.queue)
            decode_error = UndecodableError(f"the decoder failed: {error!r}", Code.UNFORESEEN)
        carried = (getattr(record, "trace_id", "") for record in records)
        trace_id = received.trace or next(filter(None, carried), "")
        if not trace_id:  # a new one in X-Ray's form: unique, and no secret
            trace_id = f"Root=1-{int(time.time()):08x}-{random.getrandbits(96):024x}"
        return InFlightMessage(
            received=received,
            queue=self.route.queue,
            records=records,
            owner=received.group_id or (records[0].owner if records else ""),
            trace_id=trace_id,
            taken=now,
            expires=now + self._limits.visibility,
            decode_error=decode_error,
        )

    def _dispatch(self) -> None:
        while not self._draining and (message := self._buffer.next()):
            message.task = self._start(self._executor.run(message))

    def recall(self, dependency: Dependency) -> None:
        """Make visible the messages that were released for long because of a dependency, which is back."""
        if not self._draining:
            self._start(self._executor.recall(dependency))

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error:
            log.error("worker.task_failed", queue=self.route.queue, error=repr(error))
        if error or task.cancelled():
            # A task that is canceled before its first step runs none of its code, and one that passes messages on
            # leaves them: they are still held.
            for message in self._buffer.running():
                if message.task is task:
                    outcome = Outcome(OutcomeKind.RELEASED, 0.0, reason="not settled")
                    self._start(self._executor.settle(message, outcome))
        self._dispatch()
