"""A daemon of several queue workers is stopped while SQS does not answer. In virtual time."""

import asyncio
import time

from consumer.daemon import Daemon
from consumer.queue.in_flight import InFlightMessage
from consumer.queue.worker import WorkerLimits
from media.errors import Dependency, UnavailableError
from tests.fakes.memory_queue import MemoryQueue, Request
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness

WORKERS = 5
DRAIN_TIMEOUT = 25.0


class HangingHeartbeats:
    """Four workers whose heartbeats hang, and one that works; each queue has more messages than fit."""

    def __init__(self) -> None:
        limits = WorkerLimits(concurrency=2, prefetch=10, visibility=60, wait=1)
        self.harnesses = [Harness(queue=MemoryQueue(f"q{n}"), limits=limits) for n in range(WORKERS)]
        self.begun: list[float] = []
        for harness in self.harnesses[:-1]:
            harness.queue.network = self.hang
        workers = [harness.worker(self.for_ever) for harness in self.harnesses[:-1]]
        self.daemon = Daemon(
            [*workers, self.harnesses[-1].worker(self.brief)],
            [],
            self.harnesses[0].metrics,
            drain_timeout=DRAIN_TIMEOUT,
        )

    async def hang(self, request: Request) -> None:
        if request.operation == "change_visibility":
            await asyncio.sleep(15)
            raise UnavailableError(Dependency.SQS, "no answer")

    async def for_ever(self, _text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(3600)

    async def brief(self, _text: str, _message: InFlightMessage) -> None:
        self.begun.append(time.monotonic())
        await asyncio.sleep(1)

    async def until_a_heartbeat_hangs(self) -> "asyncio.Task[bool]":
        for number, harness in enumerate(self.harnesses):
            await harness.send(*(f"m{n}" for n in range(12 if number < WORKERS - 1 else 400)))
        task = asyncio.create_task(self.daemon.run())
        while not self.harnesses[0].queue.count("change_visibility"):  # noqa: ASYNC110 - virtual time passes
            await asyncio.sleep(0.1)
        return task


@virtual_time
async def test_nothing_begins_after_the_signal_and_the_deadline_holds() -> None:
    scenario = HangingHeartbeats()
    task = await scenario.until_a_heartbeat_hangs()
    signaled_at = time.monotonic()
    scenario.daemon.stop()
    assert await task
    assert max(scenario.begun) <= signaled_at + 0.1
    assert time.monotonic() - signaled_at <= DRAIN_TIMEOUT
    late = [
        r.at
        for h in scenario.harnesses
        for r in h.queue.requests
        if r.operation == "receive" and r.at > signaled_at + 0.1
    ]
    assert late == []


@virtual_time
async def test_a_second_signal_ends_at_once() -> None:
    scenario = HangingHeartbeats()
    task = await scenario.until_a_heartbeat_hangs()
    scenario.daemon.stop()
    await asyncio.sleep(1)
    signaled_at = time.monotonic()
    scenario.daemon.stop()
    assert await task
    assert time.monotonic() - signaled_at <= 0.5
