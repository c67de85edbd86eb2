"""A poll loop: its pauses after errors, its helpers while batches are full, its metrics. In virtual time."""

import asyncio
import random
import time
from itertools import pairwise
from unittest import mock

import pytest

from consumer.queue.circuit_breaker import Breakers
from consumer.queue.in_flight import InFlightMessage
from consumer.queue.poller import SHORT_BACKOFF
from consumer.queue.worker import WorkerLimits
from media.errors import Dependency, UnavailableError
from tests.fakes.memory_queue import Request
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, drained, failing, nothing, until

AWAY = UnavailableError(Dependency.SQS, "away")


async def refuse(request: Request) -> None:
    if request.operation == "receive":
        raise AWAY


class SlowPolls:
    """Receives that take a second each, so that the most of them under way tells how many loops poll."""

    def __init__(self) -> None:
        self.under_way = self.most = self.returned = 0

    async def network(self, request: Request) -> None:
        if request.operation == "receive":
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(1)
            self.under_way -= 1
            self.returned += 1


def receives(harness: Harness) -> list[float]:
    return [request.at for request in harness.queue.requests if request.operation == "receive"]


@pytest.mark.parametrize(
    ("jitter", "pauses"),
    [(1.0, [1, 2, 4, *[6] * 17, 30, 30]), (0.6, [0.6, 1.2, 2.4, 3.6, *[3.6] * 16, 18, 18])],
)
@virtual_time
async def test_pauses_double_stay_short_for_twenty_errors_and_then_grow_long(
    jitter: float, pauses: list[float]
) -> None:
    def uniform(low: float, high: float) -> float:
        assert (low, high) == (0.6, 1.0)
        return jitter

    harness = Harness()
    harness.queue.network = refuse
    with mock.patch.object(random, "uniform", uniform):
        async with harness.running(nothing) as worker:
            await until(lambda: len(receives(harness)) > len(pauses), deadline=600)
            assert worker.poller.errors == len(pauses) + 1
            assert harness.metric("poll_consecutive_errors", queue="memory") == len(pauses) + 1
            failed = harness.metric("sqs_requests_total", queue="memory", operation="receive", result="error")
            assert failed == len(pauses) + 1
    gaps = [later - earlier for earlier, later in pairwise(receives(harness))]
    assert gaps[: len(pauses)] == pytest.approx(pauses)


@virtual_time
async def test_first_answer_ends_the_counting_of_errors() -> None:
    harness = Harness()
    harness.queue.network = refuse
    async with harness.running(nothing) as worker:
        await until(lambda: worker.poller.errors == 5, deadline=600)

        async def answer(_request: Request) -> None:
            """Let it pass."""

        harness.queue.network = answer
        await until(lambda: worker.poller.errors == 0, deadline=60)
        assert harness.metric("poll_consecutive_errors", queue="memory") == 0
        answered = harness.metric("sqs_requests_total", queue="memory", operation="receive", result="ok")
        assert answered == 1
        last = harness.metric("poll_last_success_timestamp_seconds", queue="memory")
        assert last == pytest.approx(time.time(), abs=60)


@virtual_time
async def test_the_end_of_an_outage_is_seen_before_a_long_poll_would_end() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=2, prefetch=2, pollers=1, visibility=60, wait=20))
    harness.queue.network = refuse
    async with harness.running(nothing) as worker:
        await until(lambda: worker.poller.errors == 5, deadline=600)
        harness.queue.network = SlowPolls().network
        await until(lambda: worker.poller.errors == 0, deadline=SHORT_BACKOFF + 1.1)
        await asyncio.sleep(100)
    assert len(receives(harness)) < 15, "it waits for messages again"


@virtual_time
async def test_unforeseen_answers_make_it_unready_until_one_is_usable() -> None:
    harness, told = Harness(), []

    async def odd(request: Request) -> None:
        if request.operation == "receive":
            raise KeyError("Messages")

    async def usual(_request: Request) -> None:
        """Let it pass."""

    async with harness.running(nothing) as worker:
        for network in (odd, usual):
            harness.queue.network = network
            await asyncio.sleep(60)
            told.append(worker.poller.health.keeps_failing)
    assert told == [True, False]


@virtual_time
async def test_stop_ends_a_pause_between_errors_at_once() -> None:
    harness = Harness()
    harness.queue.network = refuse
    async with harness.running(nothing) as worker:
        await until(lambda: worker.poller.errors == 25, deadline=600)
        stopped = time.monotonic()
        worker.poller.stop()
        await until(lambda: worker.poller.ended, deadline=60)
        assert time.monotonic() - stopped < 0.5


@virtual_time
async def test_full_batches_bring_more_pollers_and_short_ones_end_them() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=200, prefetch=100, pollers=3, visibility=60, wait=1))
    polls = SlowPolls()
    await harness.send(*(f"m{n}" for n in range(100)))
    harness.queue.network = polls.network
    async with harness.running(nothing):
        await drained(harness)
        assert polls.most == 3, "the main loop and two beside it"
        await asyncio.sleep(5)
        polls.most = 0
        await asyncio.sleep(20)
        assert polls.most == 1, "one poller while idle"
        await harness.send(*(f"m{n}" for n in range(100)))
        await drained(harness)
        assert polls.most == 3, "and as many as before when there is work again"


@virtual_time
async def test_batches_that_are_not_full_bring_no_more_pollers() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=200, prefetch=100, pollers=3, visibility=60, wait=1))
    polls = SlowPolls()
    await harness.send(*(f"m{n}" for n in range(9)))
    harness.queue.network = polls.network
    async with harness.running(nothing):
        await drained(harness)
    assert polls.most == 1


@virtual_time
async def test_pollers_beside_the_main_loop_end_when_a_breaker_opens() -> None:
    down = True

    async def probe() -> None:
        if down:
            raise UnavailableError(Dependency.S3, "away")

    harness = Harness(
        limits=WorkerLimits(concurrency=400, prefetch=400, pollers=4, visibility=60, wait=1),
        probes={Dependency.S3: probe},
    )

    async def network(request: Request) -> None:
        if request.operation == "receive":
            await asyncio.sleep(1)

    await harness.send(*(f"m{n}" for n in range(400)))
    harness.queue.network = network
    async with harness.running(failing(UnavailableError(Dependency.S3, "away"))):
        await until(lambda: harness.queue.count("change_visibility") > 0)
        await asyncio.sleep(3)
        before = harness.queue.count("receive")
        await asyncio.sleep(30)
        assert harness.queue.count("receive") == before, "nothing is received while the breaker is open"
        down = False


@virtual_time
async def test_no_more_is_received_than_there_is_room_for() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=12, prefetch=5, pollers=4, visibility=60, wait=1))
    go = asyncio.Event()

    async def work(_text: str, _message: InFlightMessage) -> None:
        await go.wait()

    await harness.send(*(f"m{n}" for n in range(100)))
    async with harness.running(work) as worker:
        await until(lambda: worker.in_flight == 17)
        turned = worker.poller.turned
        before = harness.queue.count("receive")
        await asyncio.sleep(41)
        assert worker.in_flight == 17
        assert harness.queue.count("receive") == before
        assert worker.poller.turned - turned == pytest.approx(40, abs=0.5), "a loop that waits shows that it lives"
        go.set()
        await drained(harness)


@virtual_time
async def test_nothing_is_received_for_less_room_than_a_batch() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=10, prefetch=10, pollers=1, visibility=60, wait=1))
    go: dict[str, asyncio.Event] = {}

    async def work(text: str, _message: InFlightMessage) -> None:
        await go.setdefault(text, asyncio.Event()).wait()

    await harness.send(*(f"m{n}" for n in range(40)))
    async with harness.running(work) as worker:
        await until(lambda: worker.in_flight == 20 and len(go) == 10)
        before = harness.queue.count("receive")
        released = 0
        while released < 9:
            name = next(text for text, event in go.items() if not event.is_set())
            go[name].set()
            released += 1
            await asyncio.sleep(1)
        assert harness.queue.count("receive") == before, "nine free places are not worth a request"
        next(event for event in go.values() if not event.is_set()).set()
        await until(lambda: harness.queue.count("receive") == before + 1)
        for n in range(40):
            go.setdefault(f"m{n}", asyncio.Event()).set()
        await drained(harness)


@pytest.mark.parametrize("waits_for", ["receive", "room", "breaker"])
@virtual_time
async def test_a_worker_that_is_canceled_leaves_no_task_and_no_place_behind(waits_for: str) -> None:
    async def probe() -> None:
        raise UnavailableError(Dependency.S3, "away")

    harness = Harness(
        limits=WorkerLimits(concurrency=50, prefetch=50, pollers=3, visibility=60, wait=20),
        probes={Dependency.S3: probe},
    )

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(3600)

    polls = SlowPolls()
    harness.queue.network = polls.network
    await harness.send(*(f"m{n}" for n in range({"receive": 30, "room": 200, "breaker": 0}[waits_for])))
    before = asyncio.all_tasks()
    breakers = Breakers(harness.probes, harness.metrics)
    worker = harness.worker(work, breakers)
    task = asyncio.create_task(worker.run())
    if waits_for == "breaker":
        breakers.trip(Dependency.S3)
    await asyncio.sleep({"receive": 3.5, "room": 30, "breaker": 30}[waits_for])
    assert worker.poller.turned >= time.monotonic() - worker.poller.allowance
    task.cancel()
    await asyncio.wait([task])
    assert worker.poller.ended
    for _ in range(5):  # what is canceled ends in its next steps
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert worker._buffer.room + worker.in_flight == 100


def test_a_poll_loop_may_take_its_wait_and_fifty_seconds() -> None:
    harness = Harness(limits=WorkerLimits(wait=20))
    poller = harness.worker(nothing).poller
    assert (poller.name, poller.allowance) == ("memory", 70)


@virtual_time
async def test_receives_under_way_return_before_a_stopped_poller_ends() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=200, prefetch=100, pollers=3, visibility=60, wait=1))
    polls = SlowPolls()
    harness.queue.network = polls.network
    await harness.send(*(f"m{n}" for n in range(200)))
    async with harness.running(nothing) as worker:
        await until(lambda: polls.under_way == 3)
        worker.poller.stop()
        await until(lambda: worker.poller.ended)
        assert polls.returned == harness.queue.count("receive")
