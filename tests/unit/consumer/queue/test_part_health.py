"""When a part is unready, and when it is hopeless, to the second. In virtual time."""

import asyncio
import time

import pytest

from consumer.queue.part_health import PartFailedError, PartHealth, watch_parts
from media.errors import Dependency, UnavailableError
from tests.fakes.virtual_time import virtual_time

FORESEEN = UnavailableError(Dependency.SQS, "away")
LOGGED = UnavailableError(Dependency.SQS, "null", is_unforeseen=True)


@virtual_time
async def test_three_unforeseen_failures_in_a_row_make_a_part_unready() -> None:
    for error in (KeyError(), LOGGED):
        part, told = PartHealth("part"), []
        for _ in range(3):
            part.failed(error)
            told.append(part.keeps_failing)
        assert told == [False, False, True]
        part.failed(FORESEEN)
        assert part.keeps_failing, "what is foreseen does not heal"
        part.succeeded()
        part.failed(error)
        part.failed(error)
        part.failed(FORESEEN)
        part.failed(TimeoutError())
        assert not part.keeps_failing, "and does not count"


def test_traces_of_what_no_adapter_has_logged_are_asked_for() -> None:
    part = PartHealth("part")
    errors = (KeyError(), LOGGED, FORESEEN, TimeoutError())
    assert [part.failed(error) for error in errors] == [True, False, False, False]


@virtual_time
async def test_a_part_is_hopeless_ten_minutes_after_the_first_failure_of_a_row() -> None:
    part = PartHealth("part")
    part.failed(KeyError())
    part.succeeded()
    await asyncio.sleep(500)
    for _ in range(2):
        part.failed(KeyError())
        await asyncio.sleep(400)
    assert not part.is_hopeless, "only two failures"
    part.failed(KeyError())
    told = [part.is_hopeless]
    part.succeeded()
    for _ in range(3):
        part.failed(KeyError())
    for seconds in (599.9, 0.2, 2000):
        await asyncio.sleep(seconds)
        told.append(part.is_hopeless)
    assert told == [True, False, True, True]


@virtual_time
async def test_a_hopeless_part_is_named_within_five_seconds() -> None:
    good, bad = PartHealth("good"), PartHealth("bad")
    began = time.monotonic()
    for _ in range(3):
        bad.failed(KeyError())
    with pytest.raises(PartFailedError, match=r"^bad: nothing but unforeseen failures for 600 s"):
        await watch_parts([good, bad])
    assert time.monotonic() - began == pytest.approx(600)
    await asyncio.sleep(1)
    began = time.monotonic()
    with pytest.raises(PartFailedError):
        await watch_parts([bad])
    assert time.monotonic() - began == pytest.approx(5)
