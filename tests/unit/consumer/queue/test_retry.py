"""Delays between tries, to the number."""

import random
from unittest import mock

import pytest

from consumer.queue.retry import FailureCounts, RetryPolicy, jittered


@pytest.mark.parametrize(
    ("tries", "ceiling"), [(0, 2), (1, 2), (2, 4), (3, 8), (8, 256), (9, 300), (40, 300), (10_000, 300)]
)
def test_delay_is_drawn_from_nothing_to_a_ceiling_that_doubles_up_to_the_cap(tries: int, ceiling: float) -> None:
    with mock.patch.object(random, "uniform") as uniform:
        RetryPolicy(base=2, cap=300).delay(tries)
    uniform.assert_called_once_with(0.0, ceiling)


def test_attempts_are_exhausted_with_the_last_one() -> None:
    policy = RetryPolicy(attempts=3)
    assert [policy.exhausted(tries) for tries in (1, 2, 3, 4)] == [False, False, True, True]


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 10.0), (0.2, 12.0)])
def test_jitter_only_lengthens(drawn: float, seconds: float) -> None:
    def uniform(low: float, high: float) -> float:
        assert (low, high) == (0.0, 0.2)
        return drawn

    with mock.patch.object(random, "uniform", uniform):
        assert jittered(10.0) == pytest.approx(seconds)


def test_failures_are_counted_for_each_message_until_it_is_forgotten() -> None:
    counts = FailureCounts()
    assert [counts.add("a"), counts.add("b"), counts.add("a"), counts.add("a")] == [1, 1, 2, 3]
    counts.forget("a")
    counts.forget("never counted")
    assert (counts.add("a"), counts.add("b")) == (1, 2)
