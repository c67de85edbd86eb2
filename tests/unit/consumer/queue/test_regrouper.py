"""A flood: when it is seen, and how it is passed on, in batches and within bounds. In virtual time."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from consumer.queue.buffer import PrefetchBuffer
from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import REGROUPED, Outcome
from consumer.queue.regrouper import FloodDetector, Regroup, Regrouper
from consumer.queue.worker import WorkerLimits
from media.errors import Code, Dependency, RetryableError, UnavailableError
from media.telemetry import Metrics
from tests.fakes.memory_queue import Request
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, delays, drained, in_flight, until


def seen(detector: FloodDetector, owner: str, *, full: bool = False) -> bool:
    return detector.is_flood(in_flight(owner=owner), full=full)


@virtual_time
async def test_an_owner_of_sixteen_of_thirty_messages_floods_a_full_queue() -> None:
    detector = FloodDetector()
    assert not any(seen(detector, "loud", full=True) for _ in range(15))
    assert seen(detector, "loud", full=True)
    assert not any(seen(detector, f"quiet {n}") for n in range(14))
    assert seen(detector, "loud"), "sixteen of the last thirty, as the first one is too old to count"
    seen(detector, "quiet")
    assert not seen(detector, "loud"), "fifteen"


@virtual_time
async def test_without_a_backlog_nobody_floods() -> None:
    detector = FloodDetector()
    assert not any(seen(detector, "loud") for _ in range(30))
    assert seen(detector, "loud", full=True)
    await asyncio.sleep(30)
    assert seen(detector, "loud")
    await asyncio.sleep(0.1)
    assert not seen(detector, "loud"), "the buffer was full more than 30 s ago"


@virtual_time
async def test_messages_of_the_last_minute_count() -> None:
    for passed, flood in [(60.0, True), (60.1, False), (2000.0, False)]:
        detector = FloodDetector()
        for _ in range(15):
            seen(detector, "loud")
        await asyncio.sleep(passed)
        assert seen(detector, "loud", full=True) == flood


@virtual_time
async def test_messages_with_a_tenant_or_without_an_owner_or_of_several_records_never_flood() -> None:
    detector = FloodDetector()
    for message in (
        in_flight(owner="loud", group_id="loud"),
        in_flight(owner=""),
        in_flight(owner="loud", records=2),
        in_flight(owner="loud", records=0),
    ):
        assert not any(detector.is_flood(message, full=True) for _ in range(40))
    assert not any(seen(detector, "loud", full=True) for _ in range(15)), "nor are they counted"
    assert seen(detector, "loud", full=True)


class PassingOn:
    """A regrouper on a full buffer. What it passes on waits for `go`; `refused` receipts are handled here instead."""

    def __init__(self) -> None:
        self.buffer = PrefetchBuffer("memory", Metrics(CollectorRegistry()), slots=10, prefetch=200)
        self.buffer.reserve(210)
        self.go = asyncio.Event()
        self.refused: set[str] = set()
        self.batches: list[list[str]] = []
        self.handled = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.regrouper = Regrouper(self.buffer, self.run, self.start, self.handle)
        for _ in range(15):
            self.takes("before")

    def takes(self, name: str) -> bool:
        return self.regrouper.takes(in_flight(name, owner="loud"))

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    async def run(self, batch: Sequence[InFlightMessage]) -> Sequence[InFlightMessage]:
        self.batches.append([message.receipt for message in batch])
        await self.go.wait()
        for message in batch:
            if message.receipt not in self.refused:
                self.buffer.done(message)
        return [message for message in batch if message.receipt in self.refused]

    def handle(self) -> None:
        self.handled += 1


@virtual_time
async def test_a_flood_is_passed_on_ten_at_a_time_and_eight_times_at_once() -> None:
    passing = PassingOn()
    assert [passing.takes(f"m{n}") for n in range(95)] == [True] * 95
    assert passing.batches == [], "not before all of a receive has been taken"
    await asyncio.sleep(1)
    assert passing.batches == [[f"m{n}" for n in range(first, first + 10)] for first in range(0, 80, 10)]
    assert all(m.task in passing.tasks for m in passing.buffer.running()[:80])
    passing.go.set()
    await asyncio.sleep(1)
    assert passing.batches[8:] == [[f"m{n}" for n in range(80, 90)], [f"m{n}" for n in range(90, 95)]]
    assert passing.buffer.running() == []
    assert passing.takes("later")
    await asyncio.sleep(1)
    assert passing.batches[10:] == [["later"]]
    assert passing.handled == 0


@virtual_time
async def test_what_cannot_be_passed_on_is_handled_here() -> None:
    passing = PassingOn()
    passing.refused = {"m1", "m3"}
    passing.go.set()
    for n in range(4):
        passing.takes(f"m{n}")
    await asyncio.sleep(1)
    assert [message.receipt for message in passing.buffer.waiting()] == ["m1", "m3"]
    assert [message.task for message in passing.buffer.waiting()] == [None, None]
    assert (passing.handled, passing.buffer.running()) == (2, [])


@virtual_time
async def test_stopped_it_takes_nothing_and_returns_what_waits() -> None:
    passing = PassingOn()
    for n in range(83):
        passing.takes(f"m{n}")
    await asyncio.sleep(1)
    passing.regrouper.stop()
    assert [message.receipt for message in passing.buffer.waiting()] == ["m80", "m81", "m82"]
    assert not passing.takes("late")
    passing.go.set()
    await asyncio.sleep(1)
    assert (len(passing.batches), passing.buffer.running()) == (8, [])
    stopped = PassingOn()
    stopped.takes("m")
    stopped.regrouper.stop()
    await asyncio.sleep(1)
    assert stopped.batches == []


def flooded(regroup: Regroup) -> Harness:
    """Return a harness whose worker has a small buffer, which a flood fills at once."""
    harness = Harness(limits=WorkerLimits(concurrency=1, prefetch=9, pollers=1, visibility=60, wait=1))
    harness.regroup = regroup
    return harness


@virtual_time
async def test_a_worker_passes_a_flood_on_and_handles_what_is_left() -> None:
    passed: list[str] = []

    async def regroup(batch: Sequence[InFlightMessage]) -> list[Outcome | None]:
        outcomes = [None if message.received.body.endswith("0") else REGROUPED for message in batch]
        passed.extend(m.received.body for m, outcome in zip(batch, outcomes, strict=True) if outcome)
        return outcomes

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(0.1)

    harness = flooded(regroup)
    await harness.send(*(f"loud:{n}" for n in range(60)))
    async with harness.running(work):
        await drained(harness)
    assert len(passed) > 30
    assert sorted(passed + harness.handled) == sorted(f"loud:{n}" for n in range(60)), "each once"
    counted = harness.metric("messages_processed_total", queue="memory", handler="test", outcome="regrouped")
    assert counted == len(passed)


@pytest.mark.parametrize(
    "error",
    [UnavailableError(Dependency.SQS, "away"), KeyError("Messages"), RetryableError(Code.STORAGE_ERROR)],
)
@virtual_time
async def test_a_flood_that_cannot_be_passed_on_comes_again(error: Exception) -> None:
    failures = [error] * 2

    async def regroup(batch: Sequence[InFlightMessage]) -> list[Outcome | None]:
        if failures:
            raise failures.pop()
        return [REGROUPED for _ in batch]

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(0.1)

    harness = flooded(regroup)
    await harness.send(*(f"loud:{n}" for n in range(60)))
    async with harness.running(work):
        await drained(harness)
        released = [delay for delay in delays(harness) if delay != 60]
        assert released
        assert min(released) >= 1, "after a delay, as for any other message"
    assert len(set(harness.handled)) == len(harness.handled)
    assert harness.dead.bodies() == []


@virtual_time
async def test_a_flood_that_is_being_passed_on_is_released_when_interrupted_unless_it_is_lost() -> None:
    batches: list[Sequence[InFlightMessage]] = []

    async def regroup(batch: Sequence[InFlightMessage]) -> list[Outcome | None]:
        batches.append(batch)
        await asyncio.sleep(3600)
        return []

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(3600 if batches else 0.1)

    harness = flooded(regroup)
    await harness.send(*(f"loud:{n}" for n in range(40)))
    async with harness.running(work) as worker:
        await until(lambda: bool(batches))
        harness.queue.steal(batches[0][0].receipt)
        await worker.drain()
        worker.interrupt()
        await until(lambda: not worker.busy)
    depth = await harness.queue.depth()
    assert (depth.visible, depth.in_flight) == (len(harness.queue.bodies()) - 1, 1)
    assert depth.visible >= 30, "all that was not done before"


@virtual_time
async def test_nothing_is_passed_on_once_a_drain_has_begun() -> None:
    batches: list[Sequence[InFlightMessage]] = []

    async def regroup(batch: Sequence[InFlightMessage]) -> list[Outcome | None]:
        batches.append(batch)
        return [REGROUPED for _ in batch]

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(0.1)

    async def network(request: Request) -> None:
        if request.operation == "receive":
            await asyncio.sleep(1)

    harness = flooded(regroup)
    harness.queue.network = network
    await harness.send(*(f"loud:{n}" for n in range(100)))
    async with harness.running(work) as worker:
        await until(lambda: bool(batches), deadline=60)
        receives = harness.queue.count("receive")
        await until(lambda: harness.queue.count("receive") > receives)
        passed = len(batches)
        await worker.drain()
        await until(lambda: worker.poller.ended and not worker.busy)
        assert len(batches) == passed
    depth = await harness.queue.depth()
    assert (depth.visible, depth.in_flight) == (len(harness.queue.bodies()), 0)
