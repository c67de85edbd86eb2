"""A lane on a queue in memory: what the consumer's core does with messages, without media, network or database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from consumer.queue.circuit_breaker import Breakers, Probe
from consumer.queue.heartbeat import Renew
from consumer.queue.in_flight import Delivery, Part
from consumer.queue.outcome import SUCCESS, Outcome
from consumer.queue.retry import RetryPolicy
from consumer.queue.worker import Lane, Limits, Route
from media.errors import Dependency, UndecodableError
from media.telemetry import Metrics
from tests.fakes.memory_queue import MemoryQueue

Work = Callable[[str, Delivery], Awaitable[Outcome | None]]
"""Handles the text of one part; None is success."""


@dataclass(frozen=True, slots=True)
class Text:
    """A part: a word of a message's body. `owner:word` names its tenant."""

    body: str

    @property
    def owner(self) -> str:
        return self.body.split(":")[0] if ":" in self.body else ""


def words(body: str) -> Sequence[Text]:
    """One part for each word; `poison` cannot be decoded."""
    if body == "poison":
        raise UndecodableError("poison")
    return [Text(word) for word in body.split()]


async def all_held(_leases: Sequence[Hashable]) -> set[Hashable]:
    return set()


@dataclass(slots=True)
class Harness:
    """A lane's surroundings, and what its handler was given."""

    queue: MemoryQueue = field(default_factory=MemoryQueue)
    dead: MemoryQueue = field(default_factory=lambda: MemoryQueue("memory-dlq"))
    limits: Limits = field(default_factory=lambda: Limits(visibility=60, wait=1))
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))
    probes: dict[Dependency, Probe] = field(default_factory=dict)
    renew: Renew = all_held
    handled: list[str] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def lane(self, work: Work, breakers: Breakers | None = None) -> Lane:
        async def handle(part: Part, delivery: Delivery) -> Outcome:
            self.handled.append(part.body)
            self.deliveries.append(delivery)
            return await work(part.body, delivery) or SUCCESS

        route = Route("memory", "test", words, handle, list(self.probes))
        breakers = breakers or Breakers(self.probes, self.metrics)
        return Lane(route, self.queue, self.dead, self.renew, breakers, self.retry, self.metrics, self.limits)

    @asynccontextmanager
    async def running(self, work: Work) -> AsyncIterator[Lane]:
        """The lane at work; at the end it is drained, and everything it started must have ended."""
        breakers = Breakers(self.probes, self.metrics)
        lane = self.lane(work, breakers)
        before = asyncio.all_tasks()
        probing, task = asyncio.create_task(breakers.run()), asyncio.create_task(lane.run())
        try:
            yield lane
            await lane.drain()
            await task
            probing.cancel()
            await asyncio.wait({probing})
            left = asyncio.all_tasks() - before
            assert not left, f"tasks that nobody waits for: {left}"
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
    """Until it is so. Raises TimeoutError after `deadline` seconds of the loop's clock."""
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110 - the condition is a stranger's state, nobody signals it
            await asyncio.sleep(max(0.01, deadline / 1000))


async def nothing(_text: str, _delivery: Delivery) -> None:
    """Work that succeeds at once."""


async def drained(harness: Harness) -> None:
    """Until the queue holds nothing any more."""
    await until(lambda: not harness.queue.bodies(), deadline=7200)
