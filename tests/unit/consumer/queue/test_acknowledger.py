"""Deletes and releases: batches, repeats, bounds, what is refused or has expired. In virtual time."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry

from consumer.queue.acknowledger import Acknowledger
from media.errors import Dependency, UnavailableError
from media.telemetry import Metrics
from tests.fakes.memory_queue import Request
from tests.fakes.refusing_queue import RefusingQueue
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import in_flight

AWAY = UnavailableError(Dependency.SQS, "away")


class Desk:
    """An acknowledger, its queue, and what it told the poller."""

    def __init__(self) -> None:
        self.queue = RefusingQueue()
        self.paused: list[bool] = []
        self.metrics = Metrics(CollectorRegistry())
        self.acknowledger = Acknowledger(self.queue, self.metrics, self.paused.append)

    def sent(self, operation: str = "delete") -> list[Request]:
        return [request for request in self.queue.requests if request.operation == operation]

    def counted(self, operation: str, result: str) -> float:
        labels = {"queue": "memory", "operation": operation, "result": result}
        return self.metrics.registry.get_sample_value("media_sqs_requests_total", labels) or 0.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.acknowledger.run())
        yield
        self.acknowledger.close()
        await asyncio.wait_for(task, 3600)


@virtual_time
async def test_ten_go_at_once_and_fewer_after_fifty_milliseconds() -> None:
    desk = Desk()
    async with desk.open():
        began = time.monotonic()
        for n in range(13):
            await desk.acknowledger.delete(in_flight(f"r{n}"))
        await asyncio.sleep(1)
        assert [len(request.receipts) for request in desk.sent()] == [10, 3]
        assert [request.at - began for request in desk.sent()] == pytest.approx([0, 0.05])
        later = time.monotonic()
        await desk.acknowledger.delete(in_flight("alone"))
        await asyncio.sleep(1)
        assert desk.sent()[-1].at - later == pytest.approx(0.05), "the next one has its own time to wait"
    assert desk.counted("delete", "ok") == 3


@virtual_time
async def test_the_tenth_message_sends_its_batch() -> None:
    desk = Desk()
    async with desk.open():
        for n in range(10):
            assert desk.sent() == []
            await desk.acknowledger.delete(in_flight(f"r{n}"))
        await asyncio.sleep(0.01)
        assert [len(request.receipts) for request in desk.sent()] == [10]


@virtual_time
async def test_timer_of_a_batch_that_became_full_does_not_hurry_the_next_one() -> None:
    desk = Desk()
    async with desk.open():
        await desk.acknowledger.delete(in_flight("first"))
        await asyncio.sleep(0.04)
        for n in range(9):
            await desk.acknowledger.delete(in_flight(f"r{n}"))
        later = time.monotonic()
        await desk.acknowledger.delete(in_flight("second batch"))
        await asyncio.sleep(1)
        assert [len(request.receipts) for request in desk.sent()] == [10, 1]
        assert desk.sent()[-1].at - later == pytest.approx(0.05)


@virtual_time
async def test_closing_sends_what_waits_at_once() -> None:
    desk = Desk()
    async with desk.open():
        began = time.monotonic()
        await desk.acknowledger.delete(in_flight("last"))
        await desk.acknowledger.release(in_flight("other"), 3)
    assert [request.at - began for request in desk.queue.requests] == [0, 0]


@virtual_time
async def test_at_most_eight_requests_of_a_kind_are_under_way() -> None:
    desk, under_way, most = Desk(), 0, 0

    async def network(_request: Request) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1

    desk.queue.network = network
    async with desk.open():
        for n in range(150):
            await desk.acknowledger.delete(in_flight(f"r{n}"))
        await asyncio.sleep(0.5)
        assert under_way == 8
    assert (most, len(desk.queue.deleted)) == (8, 150)


@virtual_time
async def test_two_hundred_unsettled_messages_stop_receives_until_fewer_are_left() -> None:
    desk, go = Desk(), asyncio.Event()

    async def network(_request: Request) -> None:
        await go.wait()

    desk.queue.network = network
    async with desk.open():
        for n in range(199):
            await desk.acknowledger.delete(in_flight(f"r{n}"))
        assert desk.paused == []
        await desk.acknowledger.release(in_flight("the 200th"), 0)
        await desk.acknowledger.release(in_flight("one more"), 0)
        assert desk.paused == [True]
        go.set()
        await asyncio.sleep(1)
        assert desk.paused == [True, False]


@virtual_time
async def test_the_two_hundredth_message_stops_receives_and_its_end_lets_them_go_on() -> None:
    desk, go = Desk(), asyncio.Event()

    async def network(request: Request) -> None:
        if request.operation == "delete":
            await go.wait()

    desk.queue.network = network
    async with desk.open():
        for n in range(199):
            await desk.acknowledger.delete(in_flight(f"r{n}"))
        for _ in range(2):
            desk.paused.clear()
            await desk.acknowledger.release(in_flight("the 200th"), 0)
            assert desk.paused == [True]
            await asyncio.sleep(1)
            assert desk.paused == [True, False]
        go.set()


@pytest.mark.parametrize(("asked", "delay"), [(0.0, 0), (0.2, 1), (7.0, 7), (7.001, 8), (99_999.0, 43_200)])
@virtual_time
async def test_release_rounds_the_delay_up_to_what_sqs_takes(asked: float, delay: int) -> None:
    desk = Desk()
    async with desk.open():
        await desk.acknowledger.release(in_flight("r"), asked)
    assert [request.delays for request in desk.sent("change_visibility")] == [(delay,)]
    assert desk.counted("release", "ok") == 1


@virtual_time
async def test_refused_entries_alone_are_sent_again_and_gone_ones_are_not() -> None:
    desk = Desk()
    desk.queue.refused = {"r1": False, "r2": True}
    async with desk.open():
        began = time.monotonic()
        for n in range(4):
            await desk.acknowledger.delete(in_flight(f"r{n}"))
        await asyncio.sleep(9)
        desk.queue.refused.clear()
    assert [request.receipts for request in desk.sent()] == [("r0", "r1", "r2", "r3"), *[("r1",)] * 4]
    assert [request.at - began for request in desk.sent()] == pytest.approx([0.05, 1.05, 3.05, 6.05, 10.05])
    assert (desk.counted("delete", "partial"), desk.counted("delete", "ok")) == (4, 1)


@virtual_time
async def test_repeats_end_when_the_message_expires() -> None:
    desk = Desk()
    desk.queue.refused = {"r": False}
    async with desk.open():
        await desk.acknowledger.delete(in_flight("r", expires=5))
    assert len(desk.sent()) == 4, "after 0, 1, 3 and 6 s; the fourth was decided before the message expired"


@virtual_time
async def test_it_fails_while_something_waits_to_be_settled_and_cannot() -> None:
    desk = Desk()
    desk.queue.error = AWAY
    async with desk.open():
        await desk.acknowledger.delete(in_flight("given up", expires=20))
        await asyncio.sleep(10)
        failing = [desk.acknowledger.is_failing]
        await asyncio.sleep(20)  # nothing waits any more: an idle queue would never be ready again
        failing.append(desk.acknowledger.is_failing)
        await desk.acknowledger.delete(in_flight("settled"))
        await asyncio.sleep(10)
        failing.append(desk.acknowledger.is_failing)
        desk.queue.error = None
        await asyncio.sleep(10)
        failing.append(desk.acknowledger.is_failing)
    assert failing == [True, False, True, False]


@virtual_time
async def test_while_sqs_is_away_one_batch_at_a_time_asks_after_growing_pauses() -> None:
    desk = Desk()
    desk.queue.error = AWAY
    async with desk.open():
        for n in range(30):
            await desk.acknowledger.delete(in_flight(f"r{n}"))
        await asyncio.sleep(60)
        times = [request.at for request in desk.sent()]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert gaps == pytest.approx([0, 2, 3, 4, *[5] * (len(gaps) - 4)])
        assert desk.counted("delete", "error") == len(times)
        desk.queue.error = None
    assert len(desk.queue.deleted) == 30


@virtual_time
async def test_once_sqs_is_back_batches_wait_for_nothing() -> None:
    desk = Desk()
    desk.queue.error = AWAY
    async with desk.open():
        await desk.acknowledger.delete(in_flight("first"))
        await asyncio.sleep(30)
        desk.queue.error = None
        await asyncio.sleep(30)
        assert desk.queue.deleted == ["first"]
        before = len(desk.sent())
        for n in range(40):
            await desk.acknowledger.delete(in_flight(f"r{n}"))
        await asyncio.sleep(0.01)
        assert len(desk.sent()) == before + 4
    assert desk.counted("delete", "ok") == 5


@virtual_time
async def test_messages_that_expire_while_sqs_is_away_are_given_up() -> None:
    desk = Desk()
    desk.queue.error = AWAY
    async with desk.open():
        began = time.monotonic()
        await desk.acknowledger.delete(in_flight("r", expires=20))
        await asyncio.sleep(3600)
        assert [request.at - began for request in desk.sent()] == pytest.approx(
            [0.05, 0.05, 2.05, 5.05, 9.05, 14.05, 19.05]
        )
    assert desk.paused == []


@virtual_time
async def test_unforeseen_answers_make_it_unready_until_one_is_usable() -> None:
    desk = Desk()
    desk.queue.error = KeyError("Failed")
    async with desk.open():
        await desk.acknowledger.release(in_flight("r"), 1)
        await asyncio.sleep(30)
        failing = [desk.acknowledger.health.keeps_failing]
        desk.queue.error = None
        await asyncio.sleep(30)
        failing.append(desk.acknowledger.health.keeps_failing)
    assert failing == [True, False]
    assert desk.counted("release", "ok") == 1


@virtual_time
async def test_message_is_settled_only_after_its_extension_has_ended() -> None:
    desk, extended = Desk(), asyncio.Event()
    message = in_flight("r")
    message.extension = extended
    async with desk.open():
        for settle in (desk.acknowledger.delete(message), desk.acknowledger.release(message, 1)):
            task = asyncio.create_task(settle)
            await asyncio.sleep(5)
            assert not task.done()
            task.cancel()
        assert desk.queue.requests == []
        task = asyncio.create_task(desk.acknowledger.delete(message))
        await asyncio.sleep(1)
        extended.set()
        await asyncio.wait_for(task, 1)
    assert desk.queue.deleted == ["r"]


@virtual_time
async def test_a_request_that_is_swallowed_amid_an_outage_hides_its_end_for_seconds_only() -> None:
    desk, requests = Desk(), 0

    async def network(_request: Request) -> None:
        nonlocal requests
        requests += 1
        if requests == 1:
            raise AWAY
        if requests == 2:
            await asyncio.Event().wait()

    desk.queue.network = network
    async with desk.open():
        await desk.acknowledger.delete(in_flight("r"))
        await asyncio.sleep(8)
        assert desk.queue.deleted == ["r"]
