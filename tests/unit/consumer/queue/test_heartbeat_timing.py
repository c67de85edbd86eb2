"""When a heartbeat beats, what it counts, and when a message counts as lost: to the second. In virtual time."""

import asyncio
import time
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager
from unittest import mock

import pytest
from prometheus_client import CollectorRegistry

from consumer.queue.heartbeat import Heartbeat
from media.errors import Dependency, UnavailableError
from media.telemetry import Metrics
from tests.fakes.memory_queue import Request
from tests.fakes.refusing_queue import RefusingQueue
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import in_flight

DOWN = UnavailableError(Dependency.SQS, "down")


class Beating:
    """A heartbeat with a timeout of 60 s, what it extends, and what it does about it."""

    def __init__(self, *names: str) -> None:
        self.queue = RefusingQueue()
        self.metrics = Metrics(CollectorRegistry())
        self.held = [in_flight(name, expires=60) for name in names]
        self.began = time.monotonic()
        self.renewed: list[tuple[float, list[Hashable]]] = []
        self.lost_leases: set[Hashable] = set()
        self.heartbeat = Heartbeat(self.queue, lambda: self.held, self.renew, self.metrics, timeout=60)

    async def renew(self, leases: Sequence[Hashable]) -> set[Hashable]:
        self.renewed.append((self.passed, [*sorted(map(str, leases))]))
        return self.lost_leases

    @property
    def passed(self) -> float:
        return time.monotonic() - self.began

    def beats(self) -> list[float]:
        return [round(request.at - self.began, 3) for request in self.queue.requests]

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"media_{name}_total", {"queue": "memory", **labels}) or 0.0

    def extensions(self) -> dict[str, float]:
        results = {
            name: self.counted("visibility_extensions", result=name) for name in ("ok", "error", "gone", "failed")
        }
        return {name: count for name, count in results.items() if count}

    def requests(self, result: str) -> float:
        return self.counted("sqs_requests", operation="extend", result=result)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.heartbeat.run())
        try:
            yield
            assert not task.done(), "it beats until it is canceled"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@virtual_time
async def test_all_is_extended_to_the_full_timeout_four_times_in_a_hundred_seconds() -> None:
    beating = Beating(*(f"r{n}" for n in range(23)))
    async with beating.running():
        await asyncio.sleep(100)
    assert beating.beats() == [24, 24, 24, 48, 48, 48, 72, 72, 72, 96, 96, 96]
    assert [len(request.receipts) for request in beating.queue.requests[:3]] == [10, 10, 3]
    assert {delay for request in beating.queue.requests for delay in request.delays} == {60}
    assert {message.expires - beating.began for message in beating.held} == {96 + 60}
    assert (beating.extensions(), beating.requests("ok")) == ({"ok": 4 * 23}, 12)


@virtual_time
async def test_nothing_held_costs_nothing() -> None:
    beating = Beating()
    async with beating.running():
        await asyncio.sleep(30)
        beating.held = [in_flight("r", expires=60)]
        await asyncio.sleep(30)
    assert (beating.beats(), beating.renewed) == ([48], [])


@virtual_time
async def test_a_slow_answer_puts_off_neither_the_next_beat_nor_the_end() -> None:
    beating = Beating("r")

    async def network(_request: Request) -> None:
        await asyncio.sleep(8.9)

    beating.queue.network = network
    async with beating.running():
        await asyncio.sleep(50)
        assert beating.beats() == [24, 48]
        assert beating.held[0].expires - beating.began == 24 + 60, "counted from the request, not from its answer"


@virtual_time
async def test_an_extension_that_hangs_is_given_up_after_nine_seconds_and_tried_again() -> None:
    beating = Beating("r")

    async def network(_request: Request) -> None:
        await asyncio.sleep(30)

    beating.queue.network = network
    async with beating.running():
        await asyncio.sleep(45)
        assert beating.beats() == [24, 37.8]
        [message] = beating.held
        assert message.extension
        await asyncio.sleep(3)
    assert (beating.extensions(), beating.requests("error")) == ({"error": 2}, 2)
    assert beating.held[0].extension is None
    assert not beating.heartbeat.health.keeps_failing


@virtual_time
async def test_a_message_whose_receipt_expires_is_lost_just_before_another_may_have_it() -> None:
    beating = Beating("r", "other")
    beating.queue.error = DOWN
    beating.held[1].expires += 10
    async with beating.running():
        await asyncio.sleep(57)
        assert not beating.held[0].lost
        await asyncio.sleep(1)
        assert (beating.held[0].lost, beating.held[1].lost) == (True, False)
        assert beating.counted("visibility_lost") == 1
        await asyncio.sleep(5)
        assert beating.queue.requests[-1].receipts == ("other",), "no request for what is lost"
        await asyncio.sleep(5)
        assert beating.held[1].lost
    assert beating.beats()[:8] == [24, 28.8, 33.6, 38.4, 43.2, 48, 52.8, 57.6]
    assert beating.counted("visibility_lost") == 2


@virtual_time
async def test_an_answer_that_is_late_extends_from_the_time_it_was_asked() -> None:
    beating = Beating("r")

    async def network(request: Request) -> None:
        if request.at - beating.began > 30:
            raise DOWN
        await asyncio.sleep(5)

    beating.queue.network = network
    async with beating.running():
        await asyncio.sleep(81)
        assert not beating.held[0].lost
        await asyncio.sleep(1)
        assert beating.held[0].lost


@virtual_time
async def test_a_receipt_that_is_gone_is_lost_and_one_that_failed_is_tried_again_soon() -> None:
    beating = Beating("good", "gone", "failed", "late")
    beating.queue.refused = {"gone": True, "failed": False, "late": False}
    async with beating.running():
        await asyncio.sleep(25)
        assert [message.lost for message in beating.held] == [False, True, False, False]
        assert [message.expires - beating.began for message in beating.held] == [84, 60, 60, 60]
        assert beating.extensions() == {"ok": 1, "gone": 1, "failed": 2}
        beating.queue.refused = {}
        await asyncio.sleep(25)
        assert beating.beats() == [24, 28.8]
        assert beating.queue.requests[1].receipts == ("good", "failed", "late")
    assert beating.requests("ok") == 2


@virtual_time
async def test_receipts_that_are_gone_hurry_no_beat_and_are_counted_once() -> None:
    beating = Beating("gone", "good")
    beating.held[0].leases = {"lease"}
    beating.lost_leases = {"lease"}
    beating.queue.refused = {"gone": True}
    async with beating.running():
        await asyncio.sleep(60)
    assert beating.beats() == [24, 48]
    assert beating.counted("visibility_lost") == 1


@virtual_time
async def test_what_is_settled_while_it_is_extended_is_not_lost() -> None:
    beating = Beating("settled", "held")
    beating.queue.refused = {"settled": True}
    [settled, _] = beating.held

    async def network(_request: Request) -> None:
        await asyncio.sleep(2)

    beating.queue.network = network
    async with beating.running():
        await asyncio.sleep(25)
        beating.held.remove(settled)
        waiting = asyncio.create_task(settled.quiet())
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await asyncio.sleep(1)
        assert waiting.done()
    assert (settled.lost, settled.extension, beating.counted("visibility_lost")) == (False, None, 0)


@virtual_time
async def test_all_leases_are_renewed_in_one_call_and_a_lost_one_costs_its_message_alone() -> None:
    beating = Beating("a", "b", "c")
    beating.held[0].leases, beating.held[1].leases = {"a1", "a2"}, {"b1"}
    async with beating.running():
        await asyncio.sleep(25)
        beating.lost_leases = {"b1"}
        await asyncio.sleep(25)
        assert [message.lost for message in beating.held] == [False, True, False]
        await asyncio.sleep(25)
    assert beating.renewed == [(24, ["a1", "a2", "b1"]), (48, ["a1", "a2", "b1"]), (72, ["a1", "a2"])]
    assert beating.counted("visibility_lost") == 1


@virtual_time
async def test_a_lease_that_was_given_up_meanwhile_is_not_lost() -> None:
    beating = Beating("a")
    beating.held[0].leases = {"a1"}
    renewed: list[Hashable] = []

    async def renew(leases: Sequence[Hashable]) -> set[Hashable]:
        renewed.extend(leases)
        beating.held[0].leases.clear()
        return {"a1"}

    beating.heartbeat = Heartbeat(beating.queue, lambda: beating.held, renew, beating.metrics, timeout=60)
    async with beating.running():
        await asyncio.sleep(25)
    assert renewed == ["a1"]
    assert not beating.held[0].lost


@virtual_time
async def test_leases_that_could_not_be_renewed_are_tried_again_soon() -> None:
    beating = Beating("a")
    beating.held[0].leases = {"a1"}
    asked: list[float] = []

    async def renew(_leases: Sequence[Hashable]) -> set[Hashable]:
        asked.append(round(beating.passed, 3))
        raise DOWN

    beating.heartbeat = Heartbeat(beating.queue, lambda: beating.held, renew, beating.metrics, timeout=60)
    async with beating.running():
        await asyncio.sleep(35)
    assert asked == beating.beats() == [24, 28.8, 33.6]


@pytest.mark.parametrize("broken", ["answer", "held"])
@virtual_time
async def test_unforeseen_errors_make_it_unready_until_it_succeeds(broken: str) -> None:
    beating, error = Beating("a"), KeyError("Failed")
    beating.queue.error = error if broken == "answer" else None
    held = mock.Mock(return_value=beating.held, side_effect=error if broken == "held" else None)
    beating.heartbeat = Heartbeat(beating.queue, held, beating.renew, beating.metrics, timeout=60)
    async with beating.running():
        await asyncio.sleep(34)
        failing = [beating.heartbeat.health.keeps_failing]
        beating.queue.error = held.side_effect = None
        await asyncio.sleep(5)
        failing.append(beating.heartbeat.health.keeps_failing)
    assert failing == [True, False]
    assert beating.beats()[-1] == 38.4


@virtual_time
async def test_a_message_is_relinquished_at_the_last_beat_before_sqs_refuses() -> None:
    beating = Beating("old", "young")
    beating.held[1].taken += 600
    async with beating.running():
        await asyncio.sleep(12 * 3600 - 300 - 60 + 1)
        assert not beating.held[0].relinquished
        await asyncio.sleep(24)
        assert [message.relinquished for message in beating.held] == [True, False]
        assert beating.queue.requests[-1].receipts == ("young",)
    assert not beating.held[0].lost
