"""Messages stay ours while they are worked on, and lost ones are given up at once. In virtual time."""

import asyncio
import itertools
import time
from collections.abc import Hashable, Sequence

import pytest

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import Outcome, OutcomeKind
from consumer.queue.worker import WorkerLimits
from media.errors import Dependency, UnavailableError
from tests.fakes.memory_queue import Request
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, until

DOWN = UnavailableError(Dependency.SQS, "down")


@virtual_time
async def test_ten_minutes_of_work_with_two_of_three_extensions_failing_are_not_delivered_twice() -> None:
    harness, beats = Harness(), itertools.count(1)

    async def network(request: Request) -> None:
        if request.operation == "change_visibility" and next(beats) % 3:
            raise DOWN

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(600)

    harness.queue.network = network
    await harness.send("long")
    async with harness.running(work):
        await until(lambda: not harness.queue.bodies(), deadline=700)
    assert harness.handled == ["long"]
    assert harness.metric("visibility_lost_total", queue="memory") == 0


@pytest.mark.parametrize(("visibility", "slow"), [(10, 0.0), (12, 1.5), (30, 4.0), (60, 8.5)])
@virtual_time
async def test_a_message_is_kept_while_two_of_three_extensions_hang(visibility: int, slow: float) -> None:
    """The first of three takes its time, the others hang until their deadline."""
    harness, beats = Harness(limits=WorkerLimits(visibility=visibility, wait=1)), itertools.count()

    async def network(request: Request) -> None:
        if request.operation == "change_visibility":
            hangs = next(beats) % 3
            await asyncio.sleep(visibility if hangs else slow)
            if hangs:
                raise DOWN

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(600)

    harness.queue.network = network
    await harness.send("long")
    async with harness.running(work):
        await until(lambda: not harness.queue.bodies(), deadline=700)
    assert harness.handled == ["long"]
    assert harness.metric("visibility_lost_total", queue="memory") == 0


@pytest.mark.parametrize("failing", [1, 2])
@virtual_time
async def test_an_extension_that_hangs_is_repeated_in_time(failing: int) -> None:
    """The first `failing` extensions hang until their deadline: the next one still comes in time."""
    harness, beats = Harness(), itertools.count(1)

    async def network(request: Request) -> None:
        if request.operation == "change_visibility" and next(beats) <= failing:
            await asyncio.sleep(15)
            raise DOWN

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(200)

    harness.queue.network = network
    await harness.send("long")
    async with harness.running(work):
        await until(lambda: not harness.queue.bodies(), deadline=400)
    assert harness.handled == ["long"]


@virtual_time
async def test_a_lost_receipt_cancels_its_handler_within_a_second_and_is_not_settled() -> None:
    harness, canceled_at = Harness(), [0.0]

    async def work(_text: str, _message: InFlightMessage) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            canceled_at[0] = time.monotonic()

    await harness.send("stolen")
    async with harness.running(work):
        await until(lambda: bool(harness.handled))
        harness.queue.steal(harness.messages[0].receipt)
        await until(lambda: harness.queue.count("change_visibility") == 1, deadline=60)
        known_at = time.monotonic()
        await until(lambda: canceled_at[0] > 0, deadline=1)
    assert canceled_at[0] - known_at <= 1
    assert harness.metric("visibility_lost_total", queue="memory") == 1
    assert harness.queue.count("delete") == 0
    assert harness.queue.count("change_visibility") == 1, "a lost message is neither released nor extended again"


@virtual_time
async def test_a_message_lost_while_it_waits_is_not_started() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=1, prefetch=9, visibility=60, wait=1))
    go = asyncio.Event()

    async def work(_text: str, _message: InFlightMessage) -> None:
        await go.wait()

    await harness.send("first", "second")
    async with harness.running(work) as worker:
        await until(lambda: len(worker._buffer.held()) == 2)
        stolen = worker._buffer.held()[0]
        harness.queue.steal(stolen.receipt)
        await until(lambda: stolen.lost, deadline=60)
        go.set()
        await until(lambda: not worker.busy)
    assert harness.handled == ["first"]


@virtual_time
async def test_a_lost_lease_cancels_its_handler() -> None:
    harness = Harness()
    lease = object()
    canceled = asyncio.Event()

    async def renew(leases: Sequence[Hashable]) -> set[Hashable]:
        return set(leases)

    async def work(_text: str, message: InFlightMessage) -> None:
        message.leases.add(lease)
        try:
            await asyncio.sleep(3600)
        finally:
            canceled.set()

    harness.renew = renew
    await harness.send("leased")
    async with harness.running(work):
        await asyncio.wait_for(canceled.wait(), 60)


@virtual_time
async def test_an_unforeseen_error_of_the_renewal_does_not_stop_extensions() -> None:
    harness = Harness()

    async def renew(_leases: Sequence[Hashable]) -> set[Hashable]:
        raise RuntimeError("unforeseen")

    async def work(_text: str, message: InFlightMessage) -> None:
        message.leases.add(object())
        await asyncio.sleep(300)

    harness.renew = renew
    await harness.send("long")
    async with harness.running(work):
        await until(lambda: not harness.queue.bodies(), deadline=400)
    assert harness.handled == ["long"]


@virtual_time
async def test_a_hundred_in_flight_cost_ten_requests_an_interval() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=50, prefetch=50, visibility=60, wait=1))
    go = asyncio.Event()

    async def work(_text: str, _message: InFlightMessage) -> None:
        await go.wait()

    await harness.send(*(f"m{n}" for n in range(100)))
    async with harness.running(work) as worker:
        await until(lambda: len(worker._buffer.held()) == 100)
        asked = len(harness.queue.requests)
        await asyncio.sleep(60 * 0.4 * 10)
        extended = [r for r in harness.queue.requests[asked:] if r.operation == "change_visibility"]
        assert len(extended) <= 10 * 10
        assert all(len(request.receipts) == 10 for request in extended), "waiting ones included, ten at a time"
        go.set()
        await until(lambda: not worker.busy)
    assert sorted(harness.handled) == sorted(f"m{n}" for n in range(100)), "each once"


@virtual_time
async def test_no_heartbeat_touches_a_message_that_is_being_settled() -> None:
    """Every extension is slow, and messages end at all moments of it: a released message must stay released."""
    harness = Harness(limits=WorkerLimits(concurrency=20, prefetch=0, visibility=10, wait=1))
    under_way: dict[str, str] = {}

    async def network(request: Request) -> None:
        kind = "settle" if request.operation == "delete" or set(request.delays) == {7} else "extend"
        if request.operation not in {"delete", "change_visibility"}:
            return
        for receipt in request.receipts:
            assert receipt not in under_way, f"{kind} while {under_way[receipt]} is under way"
            under_way[receipt] = kind
        await asyncio.sleep(1.4)
        for receipt in request.receipts:
            del under_way[receipt]

    async def work(text: str, _message: InFlightMessage) -> Outcome | None:
        number = int(text)
        await asyncio.sleep(number * 0.31)
        return Outcome(OutcomeKind.RELEASED, 7.0) if number % 2 and harness.handled.count(text) == 1 else None

    harness.queue.network = network
    await harness.send(*map(str, range(20)))
    async with harness.running(work):
        await until(lambda: not harness.queue.bodies(), deadline=120)
    assert sorted(map(int, harness.handled)) == sorted([*range(20), *range(1, 20, 2)])


@virtual_time
async def test_a_message_held_for_half_a_day_is_relinquished_before_sqs_refuses() -> None:
    harness = Harness(limits=WorkerLimits(visibility=3600, wait=20))

    async def work(_text: str, _message: InFlightMessage) -> None:
        if len(harness.handled) == 1:
            await asyncio.sleep(20 * 3600)

    await harness.send("endless")
    began = time.monotonic()
    async with harness.running(work):
        await until(lambda: len(harness.handled) == 2, deadline=13 * 3600)
        assert 11 * 3600 < time.monotonic() - began < 12 * 3600
