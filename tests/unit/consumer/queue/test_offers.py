"""A worker takes messages that were never in its queue, within the same bounds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.worker import QueueWorker, WorkerLimits
from media.aws.sqs import Received
from media.errors import Dependency, UnavailableError
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, nothing, until


def offered(name: str) -> Received:
    return Received(name, f"offered-{name}", name)


@asynccontextmanager
async def one_at_a_time(prefetch: int) -> AsyncIterator[tuple[Harness, QueueWorker, asyncio.Event]]:
    """Run a worker with one slot, whose handler waits for the event."""
    harness, go_on = (
        Harness(limits=WorkerLimits(concurrency=1, prefetch=prefetch, visibility=60, wait=1)),
        asyncio.Event(),
    )

    async def work(_text: str, _message: InFlightMessage) -> None:
        await go_on.wait()

    async with harness.running(work) as worker:
        yield harness, worker, go_on


@virtual_time
async def test_an_offer_is_handled_and_settled_by_its_receipt() -> None:
    harness, names = Harness(), list[object]()

    async def work(_text: str, _message: InFlightMessage) -> None:
        names.append(structlog.contextvars.get_contextvars().get("queue"))

    async with harness.running(work) as worker:
        await until(lambda: harness.queue.count("receive") > 0)
        with structlog.contextvars.bound_contextvars(queue="of the caller"):
            assert worker.offer(offered("one"))
        await until(lambda: harness.queue.count("delete") > 0)
    deleted = [request.receipts for request in harness.queue.requests if request.operation == "delete"]
    assert deleted == [("offered-one",)]
    assert names == ["memory"]


@virtual_time
async def test_offers_are_refused_without_a_place() -> None:
    async with one_at_a_time(prefetch=1) as (harness, worker, go_on):
        await harness.send("a", "b")
        await until(lambda: worker.in_flight == 2)
        assert not worker.offer(offered("c"))
        go_on.set()
        await until(lambda: worker.in_flight == 0)
    assert harness.handled == ["a", "b"]


@virtual_time
async def test_offers_are_refused_before_the_start_and_while_draining() -> None:
    harness = Harness()
    assert not harness.worker(nothing).offer(offered("early"))
    async with harness.running(nothing) as worker:
        await until(lambda: harness.queue.count("receive") > 0)
        draining = worker.drain()
        assert not worker.offer(offered("late"))
        await draining
    assert harness.handled == []


@virtual_time
async def test_offers_are_refused_while_a_dependency_is_away() -> None:
    async def away() -> None:
        raise UnavailableError(Dependency.S3, "away")

    async def work(_text: str, _message: InFlightMessage) -> None:
        raise UnavailableError(Dependency.S3, "away")

    harness = Harness(probes={Dependency.S3: away})
    async with harness.running(work) as worker:
        await until(lambda: harness.queue.count("receive") > 0)
        assert worker.offer(offered("finds out"))
        await until(lambda: worker.in_flight == 0)
        assert not worker.offer(offered("next"))


@virtual_time
async def test_an_offer_waits_behind_what_was_received() -> None:
    async with one_at_a_time(prefetch=20) as (harness, worker, go_on):
        await harness.send("a", "b")
        await until(lambda: worker.in_flight == 2)
        assert worker.offer(offered("c"))
        go_on.set()
        await until(lambda: worker.in_flight == 0)
    assert harness.handled == ["a", "b", "c"]


@virtual_time
async def test_what_still_waits_is_given_back_by_the_drain() -> None:
    async with one_at_a_time(prefetch=20) as (harness, worker, go_on):
        await until(lambda: harness.queue.count("receive") > 0)
        assert worker.offer(offered("runs"))
        assert worker.offer(offered("waits"))
        await worker.drain()
        go_on.set()
    released = [r for r in harness.queue.requests if r.operation == "change_visibility"]
    assert [(r.receipts, r.delays) for r in released] == [(("offered-waits",), (0,))]
    assert harness.handled == ["runs"]
