"""A breaker: when it probes, how long it waits, what the gauge says. In virtual time."""

import asyncio
import time
from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry

from consumer.queue.circuit_breaker import RELAPSE, Breakers
from media.errors import Dependency
from media.telemetry import Metrics
from tests.fakes.virtual_time import virtual_time

S3 = Dependency.S3


class Probed:
    """A dependency whose probes are written down."""

    def __init__(self, *, away: bool = True, takes: float = 0.0, watched: bool = False) -> None:
        self.away, self.takes = away, takes
        self.asked: list[float] = []
        self.metrics = Metrics(CollectorRegistry())
        self.breakers = Breakers({S3: self.probe}, self.metrics, watched=[S3] if watched else [])

    async def probe(self) -> None:
        self.asked.append(time.monotonic())
        await asyncio.sleep(self.takes)
        if self.away:
            raise RuntimeError("away")

    @property
    def gauge(self) -> float | None:
        return self.metrics.registry.get_sample_value("media_circuit_open", {"dependency": "s3"})

    def gaps(self, since: float) -> list[float]:
        return [later - earlier for earlier, later in pairwise([since, *self.asked])]


@virtual_time
async def test_probes_follow_a_trip_with_pauses_that_double_up_to_five_seconds() -> None:
    probed = Probed()
    task = asyncio.create_task(probed.breakers.run())
    await asyncio.sleep(10)
    assert (probed.asked, probed.gauge, probed.breakers.open([S3])) == ([], 0, [])
    tripped = time.monotonic()
    probed.breakers.trip(S3)
    assert (probed.gauge, probed.breakers.open([S3])) == (1, [S3])
    await asyncio.sleep(20)
    assert probed.gaps(tripped) == pytest.approx([0.5, 1, 2, 4, 5, 5])
    probed.away = False
    await asyncio.wait_for(probed.breakers.closed([S3]), 5)
    assert (probed.gauge, probed.breakers.open([S3])) == (0, [])
    task.cancel()


@virtual_time
async def test_probe_that_hangs_is_given_up_after_four_seconds() -> None:
    probed = Probed(takes=3600.0)
    task = asyncio.create_task(probed.breakers.run())
    tripped = time.monotonic()
    probed.breakers.trip(S3)
    await asyncio.sleep(12)
    assert probed.gaps(tripped) == pytest.approx([0.5, 5, 6])
    task.cancel()


@virtual_time
async def test_watched_dependency_that_takes_as_long_as_the_work_allows_is_not_away() -> None:
    probed = Probed(away=False, takes=7.0, watched=True)
    task = asyncio.create_task(probed.breakers.run())
    await asyncio.sleep(60)
    assert (len(probed.asked), probed.breakers.open([S3])) == (5, [])
    probed.takes = 3600.0
    await asyncio.sleep(20)
    assert probed.breakers.open([S3]) == [S3]
    task.cancel()


@pytest.mark.parametrize(("after", "first"), [(9.0, 4.0), (10.0, 4.0), (10.1, 0.5)])
@virtual_time
async def test_relapse_within_ten_seconds_goes_on_with_the_longer_pause(after: float, first: float) -> None:
    probed = Probed()
    task = asyncio.create_task(probed.breakers.run())
    probed.breakers.trip(S3)
    await asyncio.sleep(2)  # two probes fail, at 0.5 and 1.5 s
    probed.away = False
    await asyncio.wait_for(probed.breakers.closed([S3]), 5)
    await asyncio.sleep(after)
    probed.asked.clear()
    tripped = time.monotonic()
    probed.breakers.trip(S3)
    await asyncio.wait_for(probed.breakers.closed([S3]), 10)
    assert probed.gaps(tripped) == pytest.approx([first])
    task.cancel()


@virtual_time
async def test_trips_while_open_and_of_what_has_no_breaker_change_nothing() -> None:
    probed = Probed()
    task = asyncio.create_task(probed.breakers.run())
    tripped = time.monotonic()
    probed.breakers.trip(S3)
    for _ in range(20):
        probed.breakers.trip(S3)
        probed.breakers.trip(Dependency.SQS)
        await asyncio.sleep(0.2)
    assert probed.gaps(tripped) == pytest.approx([0.5, 1, 2])
    assert probed.breakers.open([Dependency.SQS]) == []
    task.cancel()


@virtual_time
async def test_waiting_for_several_waits_for_the_last_of_them() -> None:
    slow, quick = Probed(), Probed(away=False)
    both = Breakers({S3: slow.probe, Dependency.POSTGRES: quick.probe}, Metrics(CollectorRegistry()))
    task = asyncio.create_task(both.run())
    both.trip(S3)
    both.trip(Dependency.POSTGRES)
    waiting = asyncio.create_task(both.closed([S3, Dependency.POSTGRES]))
    await asyncio.sleep(2)
    assert both.open([S3, Dependency.POSTGRES]) == [S3]
    assert not waiting.done()
    slow.away = False
    await asyncio.wait_for(waiting, 5)
    task.cancel()


@virtual_time
async def test_watched_dependency_is_noticed_by_an_idle_consumer() -> None:
    probed = Probed(away=False, watched=True)
    task = asyncio.create_task(probed.breakers.run())
    for takes in (0.0, 3600.0):
        await asyncio.sleep(60)
        assert (probed.gauge, probed.breakers.open([S3])) == (0, [])
        assert probed.gaps(probed.asked[-3])[-2:] == pytest.approx([5, 5])
        probed.away, probed.takes = True, takes
        await asyncio.sleep(5 + 8.1)
        assert (probed.gauge, probed.breakers.open([S3])) == (1, [S3])
        await asyncio.sleep(600)
        probed.away, probed.takes = False, 0.0
        await asyncio.sleep(5 + 4.1)
        assert probed.breakers.open([S3]) == []
    task.cancel()


@virtual_time
async def test_a_return_is_told_at_once_but_after_a_relapse_only_when_it_lasts() -> None:
    probed = Probed(away=False)
    told: list[float] = []
    probed.breakers.on_recovery(lambda _: told.append(time.monotonic()))
    task = asyncio.create_task(probed.breakers.run())
    await asyncio.sleep(0)
    probed.breakers.trip(S3)
    await asyncio.wait_for(probed.breakers.closed([S3]), 5)
    assert told == [time.monotonic()]
    for _ in range(3):  # the probe succeeds, and the next call fails
        await asyncio.sleep(1)
        probed.breakers.trip(S3)
        await asyncio.wait_for(probed.breakers.closed([S3]), 9)
    closed = time.monotonic()
    assert len(told) == 1
    await asyncio.sleep(60)
    assert told[1:] == [pytest.approx(closed + RELAPSE)]
    task.cancel()
