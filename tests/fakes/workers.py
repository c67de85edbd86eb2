"""A queue worker on a queue in memory: the consumer's core without media, network or database."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from consumer.queue.circuit_breaker import Breakers, Probe
from consumer.queue.heartbeat import Renew
from consumer.queue.in_flight import InFlightMessage, Record
from consumer.queue.outcome import SUCCESS, Outcome
from consumer.queue.regrouper import Regroup
from consumer.queue.retry import RetryPolicy
from consumer.queue.worker import Decode, QueueWorker, Route, WorkerLimits
from media.aws.sqs import BATCH, Received
from media.errors import Dependency, UndecodableError
from media.telemetry import Metrics
from tests.fakes.memory_queue import MemoryQueue

Work = Callable[[str, InFlightMessage], Awaitable[Outcome | None]]
"""Handles the text of one record; None is success."""


@dataclass(frozen=True, slots=True)
class Text:
    """A record: a word of a message's body. `owner:word` names its tenant."""

    body: str

    @property
    def owner(self) -> str:
        return self.body.split(":")[0] if ":" in self.body else ""


def words(body: str) -> Sequence[Text]:
    """Decode each word as a record; `undecodable` cannot be decoded."""
    if body == "undecodable":
        raise UndecodableError("undecodable")
    return [Text(word) for word in body.split()]


async def all_held(_leases: Sequence[Hashable]) -> set[Hashable]:
    return set()


@dataclass(slots=True)
class Harness:
    """What a queue worker needs, and what its handler was given."""

    queue: MemoryQueue = field(default_factory=MemoryQueue)
    dead: MemoryQueue = field(default_factory=lambda: MemoryQueue("memory-dlq"))
    limits: WorkerLimits = field(default_factory=lambda: WorkerLimits(visibility=60, wait=1))
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))
    probes: dict[Dependency, Probe] = field(default_factory=dict)
    renew: Renew = all_held
    regroup: Regroup | None = None
    decode: Decode = words
    handled: list[str] = field(default_factory=list)
    messages: list[InFlightMessage] = field(default_factory=list)

    def worker(self, work: Work, breakers: Breakers | None = None) -> QueueWorker:
        async def handle(record: Record, message: InFlightMessage) -> Outcome:
            self.handled.append(record.body)
            self.messages.append(message)
            return await work(record.body, message) or SUCCESS

        route = Route("memory", "test", self.decode, handle, list(self.probes), self.regroup)
        breakers = breakers or Breakers(self.probes, self.metrics)
        return QueueWorker(route, self.queue, self.dead, self.renew, breakers, self.retry, self.metrics, self.limits)

    @asynccontextmanager
    async def running(self, work: Work) -> AsyncIterator[QueueWorker]:
        """Run a worker; at the end drain it, and check that everything it started has ended."""
        breakers = Breakers(self.probes, self.metrics)
        worker = self.worker(work, breakers)
        before = asyncio.all_tasks()
        probing, task = asyncio.create_task(breakers.run()), asyncio.create_task(worker.run())
        try:
            yield worker
            await worker.drain()
            await task
            probing.cancel()
            await asyncio.wait({probing})
            left = asyncio.all_tasks() - before
            assert not left, f"tasks left running: {left}"
        finally:
            probing.cancel()
            task.cancel()
            await asyncio.gather(probing, task, return_exceptions=True)

    async def send(self, *bodies: str, group_id: str = "") -> None:
        for body in bodies:
            await self.queue.send(body, group_id=group_id)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"media_{name}", labels) or 0.0


async def until(condition: Callable[[], bool], *, deadline: float = 30.0) -> None:
    """Wait until the condition is true. Raises TimeoutError after `deadline` seconds of the loop's clock."""
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110 - the state is not ours, and nothing signals it
            await asyncio.sleep(max(0.01, deadline / 1000))


def in_flight(
    name: str = "r", *, owner: str = "", group_id: str = "", receives: int = 1, expires: float = 3600, records: int = 1
) -> InFlightMessage:
    """Return a message that no queue holds. `name` is its id and its receipt; `expires` is in seconds from now."""
    now = time.monotonic()
    received = Received(name, name, name, receives, group_id=group_id)
    words = [Text(name)] * records
    return InFlightMessage(received, "memory", words, owner, "", taken=now, expires=now + expires)


async def nothing(_text: str, _message: InFlightMessage) -> None:
    """Succeed at once."""


def failing(error: Exception) -> Work:
    """Return work that raises this for every record."""

    async def work(_text: str, _message: InFlightMessage) -> None:
        raise error

    return work


async def use_up_receives(harness: Harness, times: int) -> None:
    """Receive ten messages this many times. They are visible again at once."""
    for _ in range(times):
        await harness.queue.receive(limit=BATCH, wait=0, visibility=0)


def delays(harness: Harness) -> list[int]:
    """Return the visibility timeouts that the queue was asked for, in seconds, extensions included."""
    return [delay for request in harness.queue.requests for delay in request.delays]


async def drained(harness: Harness) -> None:
    """Wait until the queue is empty."""
    await until(lambda: not harness.queue.bodies(), deadline=7200)
