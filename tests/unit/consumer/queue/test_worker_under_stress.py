"""A queue worker in outages, while draining, and with unfair owners. In virtual time, on a queue in memory."""

import asyncio
import time
from collections import Counter

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import Outcome, OutcomeKind
from consumer.queue.retry import RetryPolicy
from consumer.queue.worker import WorkerLimits
from media.errors import Dependency, UnavailableError
from tests.fakes.memory_queue import Request
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, delays, drained, failing, nothing, until, use_up_receives

S3_AWAY = UnavailableError(Dependency.S3, "away")


@virtual_time
async def test_a_dependency_that_is_away_pauses_the_queue_and_costs_no_attempt() -> None:
    harness = Harness(retry=RetryPolicy(attempts=1))
    back_at = time.monotonic() + 60

    async def probe() -> None:
        if time.monotonic() < back_at:
            raise S3_AWAY

    async def work(_text: str, _message: InFlightMessage) -> None:
        if time.monotonic() < back_at:
            raise S3_AWAY

    harness.probes = {Dependency.S3: probe}
    await harness.send(*(f"m{n}" for n in range(30)))
    async with harness.running(work):
        await until(lambda: time.monotonic() > back_at, deadline=120)
        assert harness.queue.count("receive") <= 8, "paused, it asks for nothing"
        assert max(harness.queue.receives(f"m{n}") for n in range(30)) <= 2
        await drained(harness)
    assert time.monotonic() - back_at <= 10
    assert harness.dead.bodies() == []


@virtual_time
async def test_a_dependency_that_answers_only_its_probe_does_not_use_up_the_receives() -> None:
    """The dependency answers its probe and nothing else, for ten minutes; SQS gives up after 20 receives."""
    harness = Harness()
    back_at = time.monotonic() + 600

    async def probe() -> None:
        pass

    async def work(_text: str, _message: InFlightMessage) -> None:
        if time.monotonic() < back_at:
            raise S3_AWAY

    harness.probes = {Dependency.S3: probe}
    await harness.send("patient")
    async with harness.running(work):
        await until(lambda: time.monotonic() > back_at, deadline=700)
        assert harness.queue.receives("patient") < 18
        await drained(harness)


@virtual_time
async def test_no_delay_outlives_the_outage_that_it_was_for() -> None:
    """The message comes from ten consumers that were tripped by it one after another, and has a long delay by now."""
    harness = Harness()
    back_at = time.monotonic() + 60
    done: list[float] = []

    async def probe() -> None:
        if time.monotonic() < back_at:
            raise S3_AWAY

    async def work(_text: str, _message: InFlightMessage) -> None:
        if time.monotonic() < back_at:
            raise S3_AWAY
        done.append(time.monotonic())

    harness.probes = {Dependency.S3: probe}
    await harness.send(*(f"m{n}" for n in range(30)))
    await use_up_receives(harness, 9)
    async with harness.running(work):
        await drained(harness)
    assert max(done) - back_at <= 10


@virtual_time
async def test_recalls_do_not_use_up_the_receives_while_a_dependency_comes_and_goes() -> None:
    """Half a minute up and half a minute down, for an hour; this message's work needs longer than that."""
    harness = Harness()
    end = time.monotonic() + 3600

    def away() -> bool:
        return time.monotonic() < end and time.monotonic() % 60 < 30

    async def probe() -> None:
        if away():
            raise S3_AWAY

    async def work(_text: str, _message: InFlightMessage) -> None:
        for _ in range(40):
            await asyncio.sleep(1)
            if away():
                raise S3_AWAY

    harness.probes = {Dependency.S3: probe}
    await harness.send("patient")
    async with harness.running(work):
        await until(lambda: time.monotonic() > end, deadline=3700)
        assert harness.queue.receives("patient") < 18
        await drained(harness)
    assert harness.dead.bodies() == []


@virtual_time
async def test_an_unforeseen_response_does_not_end_the_polling() -> None:
    harness = Harness()

    async def network(request: Request) -> None:
        if request.operation == "receive" and harness.queue.count("receive") <= 3:
            raise KeyError("Messages")

    harness.queue.network = network
    await harness.send("patient")
    async with harness.running(nothing) as worker:
        await drained(harness)
    assert worker._buffer.room == 30, "no place was lost"


@virtual_time
async def test_polling_backs_off_while_sqs_is_away() -> None:
    harness = Harness()
    harness.queue.error = UnavailableError(Dependency.SQS, "away")
    async with harness.running(nothing) as worker:
        asked = []
        for _ in range(10):
            before = harness.queue.count("receive")
            for _second in range(60):
                await asyncio.sleep(1)
                assert time.monotonic() - worker.poller.turned < worker.poller.allowance
            asked.append(harness.queue.count("receive") - before)
        assert asked[0] <= 21, "about six seconds apart, so that the end of a short outage is noticed"
        assert max(asked[3:]) <= 4, "and twice a minute when it lasts"


@virtual_time
async def test_draining_releases_waiting_messages_within_two_seconds_and_lets_running_ones_finish() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=5, prefetch=15, visibility=60, wait=1))

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(10)

    await harness.send(*(f"m{n}" for n in range(20)))
    worker = harness.worker(work)
    task = asyncio.create_task(worker.run())
    await until(lambda: len(worker._buffer.held()) == 20)
    asked = time.monotonic()
    await worker.drain()
    await asyncio.sleep(1.9)
    assert (await harness.queue.depth()).visible == 15
    await task
    assert len(harness.queue.bodies()) == 15, "the five that ran are done and deleted"
    assert time.monotonic() - asked <= 11


@virtual_time
async def test_messages_that_arrive_while_draining_are_released() -> None:
    harness = Harness(limits=WorkerLimits(visibility=600, wait=20))
    worker = harness.worker(nothing)
    task = asyncio.create_task(worker.run())
    await until(lambda: harness.queue.count("receive") == 1)
    await worker.drain()
    await harness.send("late", "later")
    await task
    assert harness.handled == []
    assert (await harness.queue.depth()).visible == 2


@virtual_time
async def test_interrupted_work_is_released_at_once_even_before_its_first_step() -> None:
    harness = Harness(limits=WorkerLimits(visibility=600, wait=1))

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(3600)

    await harness.send("a", "b", "c")
    worker = harness.worker(work)
    task = asyncio.create_task(worker.run())
    while not worker._buffer.running():  # noqa: ASYNC110 - the very moment in which its task has not begun
        await asyncio.sleep(0)
    await worker.drain()
    worker.interrupt()
    await task
    assert (await harness.queue.depth()).visible == 3
    assert worker._buffer.held() == []


@virtual_time
async def test_interrupted_work_is_measured_and_released_at_once() -> None:
    harness = Harness(limits=WorkerLimits(visibility=600, wait=1))

    async def work(_text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(3600)

    await harness.send("a", "b")
    async with harness.running(work) as worker:
        await until(lambda: len(harness.handled) == 2)
        await worker.drain()
        worker.interrupt()
        await until(lambda: not worker.busy)
    assert (await harness.queue.depth()).visible == 2
    assert harness.metric("handler_duration_seconds_count", queue="memory", handler="test") == 2
    assert set(delays(harness)) == {0}, "interrupted or draining"


@virtual_time
async def test_one_owner_holds_at_most_half_of_the_slots_while_others_wait() -> None:
    """All wait behind a third owner's work, the greedy owner's first; then slots come free one by one."""
    harness = Harness(limits=WorkerLimits(concurrency=10, prefetch=40, visibility=60, wait=1))
    shares: list[Counter[str]] = []
    go = asyncio.Event()

    async def work(text: str, _message: InFlightMessage) -> None:
        if text.startswith("first:"):
            await go.wait()
            await asyncio.sleep(0.1 * int(text.removeprefix("first:")))
            return
        if any(waiting.owner == "meek" for waiting in worker._buffer.waiting()):
            shares.append(Counter(held.owner for held in worker._buffer.running()))
        await asyncio.sleep(1)

    await harness.send(*(f"first:{n}" for n in range(10)))
    await harness.send(*(f"greedy:{n}" for n in range(26)), *(f"meek:{n}" for n in range(14)))
    async with harness.running(work) as worker:
        await until(lambda: len(worker._buffer.held()) == 50)
        go.set()
        await drained(harness)
    assert len(shares) >= 14
    assert max(share["greedy"] for share in shares) == 5, "half, and not less for the others' sake"
    assert max(share["meek"] for share in shares) == 5


@virtual_time
async def test_one_slow_message_does_not_hold_up_the_others() -> None:
    """One of 60 s and 999 of 10 ms, ten at once: the 999 take hardly longer than without it."""

    async def seconds_for_the_others(*, slow: bool) -> float:
        harness = Harness(limits=WorkerLimits(concurrency=10, visibility=60, wait=1))
        go = asyncio.Event()

        async def work(text: str, _message: InFlightMessage) -> None:
            await (go.wait() if text == "slow" else asyncio.sleep(0.01))

        async def network(_request: Request) -> None:
            await asyncio.sleep(0.005)

        harness.queue.network = network
        await harness.send(*(["slow"] if slow else []), *(f"m{n}" for n in range(999)))
        began = time.monotonic()
        async with harness.running(work):
            await until(lambda: len(harness.queue.bodies()) == int(slow))
            took = time.monotonic() - began
            go.set()
        return took

    assert await seconds_for_the_others(slow=True) / await seconds_for_the_others(slow=False) <= 1.3


@virtual_time
async def test_a_released_outcome_comes_again_after_its_delay() -> None:
    harness = Harness()
    seen: list[float] = []

    async def work(_text: str, _message: InFlightMessage) -> Outcome | None:
        seen.append(time.monotonic())
        return Outcome(OutcomeKind.RELEASED, 20) if len(seen) == 1 else None

    await harness.send("busy")
    async with harness.running(work):
        await drained(harness)
    assert 20 <= seen[1] - seen[0] <= 22


class EndsItsTask(BaseException):
    """Passes by everything that catches exceptions."""


@virtual_time
async def test_a_message_whose_task_fails_is_released_at_once() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=2, prefetch=0, visibility=600, wait=1))
    began = time.monotonic()

    async def work(text: str, _message: InFlightMessage) -> None:
        if text == "odd" and harness.handled.count(text) == 1:
            raise EndsItsTask

    await harness.send("fine", "odd", "other")
    async with harness.running(work) as worker:
        await drained(harness)
        assert worker.in_flight == 0
    assert sorted(harness.handled) == ["fine", "odd", "odd", "other"]
    assert set(delays(harness)) == {0}
    assert time.monotonic() - began < 10


@virtual_time
async def test_nothing_is_recalled_while_draining() -> None:
    harness = Harness()

    async def network(request: Request) -> None:
        if request.operation == "receive":
            await asyncio.sleep(5)

    await harness.send("a")
    await use_up_receives(harness, 5)
    harness.queue.network = network
    async with harness.running(failing(S3_AWAY)) as worker:
        await until(lambda: harness.queue.count("change_visibility") == 1)
        worker.recall(Dependency.POSTGRES)
        await worker.drain()
        worker.recall(Dependency.S3)
        await until(lambda: not worker.busy)
    assert harness.queue.count("change_visibility") == 1
    assert (await harness.queue.depth()).visible == 0


@virtual_time
async def test_a_worker_tells_what_it_holds_and_whether_it_is_busy() -> None:
    harness, go = Harness(limits=WorkerLimits(concurrency=1, prefetch=9, visibility=60, wait=1)), asyncio.Event()

    async def work(_text: str, _message: InFlightMessage) -> None:
        await go.wait()

    async with harness.running(work) as worker:
        assert (worker.busy, worker.in_flight) == (False, 0)
        await harness.send("a", "b", "c")
        await until(lambda: worker.in_flight == 3)
        assert worker.busy
        assert [part.name for part in worker.health] == [
            "poller of memory",
            "heartbeat of memory",
            "acknowledger of memory",
        ]
        go.set()
        await until(lambda: not worker.busy)
        assert worker.in_flight == 0
