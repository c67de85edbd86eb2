"""Delays between tries, counts of failures, what is recalled: to the number."""

import asyncio
import math
import random
from unittest import mock

import pytest

from consumer.queue.retry import FailureCounts, PostponedMessages, RetryPolicy, jittered
from media.errors import Dependency
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import in_flight


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


def test_the_default_policy_gives_up_after_five_tries_and_five_minutes() -> None:
    policy = RetryPolicy()
    assert (policy.base, policy.cap, policy.attempts) == (2, 300, 5)


def test_a_delay_doubles_to_the_thirty_second_power_and_no_further() -> None:
    with mock.patch.object(random, "uniform") as uniform:
        RetryPolicy(base=1, cap=math.inf).delay(33)
        RetryPolicy(base=1, cap=math.inf).delay(34)
        RetryPolicy(base=1, cap=math.inf).delay(2_000)
    assert [call.args[1] for call in uniform.call_args_list] == [2**32] * 3


def test_ten_thousand_failing_messages_are_remembered() -> None:
    counts = FailureCounts()
    for number in range(10_000):
        counts.add(str(number))
    assert counts.add("0") == 2
    counts.add("one more")
    assert (counts.add("2"), counts.add("1")) == (2, 1)


@virtual_time
async def test_messages_that_wait_for_a_dependency_are_returned_once() -> None:
    postponed = PostponedMessages()
    for name, dependency in [("a", Dependency.S3), ("b", Dependency.POSTGRES), ("c", Dependency.S3)]:
        postponed.add(in_flight(name), dependency, 60)
    assert [message.receipt for message in postponed.take(Dependency.S3)] == ["a", "c"]
    assert postponed.take(Dependency.S3) == []
    assert [message.receipt for message in postponed.take(Dependency.POSTGRES)] == ["b"]


@virtual_time
async def test_only_what_is_worth_a_recall_is_remembered() -> None:
    postponed = PostponedMessages()
    for name, delay, receives in [("short", 4.9, 1), ("least", 5, 1), ("often", 60, 12), ("too often", 60, 13)]:
        postponed.add(in_flight(name, receives=receives), Dependency.S3, delay)
    kept = postponed.take(Dependency.S3)
    assert [message.receipt for message in kept] == ["least", "often"]
    assert [(message.received.body, message.records, message.task) for message in kept] == [("", (), None)] * 2


@pytest.mark.parametrize(("passed", "recalled"), [(57.9, 1), (58.0, 0), (61.0, 0)])
@virtual_time
async def test_what_is_about_to_be_visible_is_not_recalled(passed: float, recalled: int) -> None:
    postponed = PostponedMessages()
    message = in_flight(expires=5)
    message.leases = {"lease"}
    postponed.add(message, Dependency.S3, 60)
    await asyncio.sleep(passed)
    kept = postponed.take(Dependency.S3)
    assert len(kept) == recalled
    assert (message.leases, message.received.body) == ({"lease"}, "r"), "the message itself stays as it is"


@virtual_time
async def test_a_thousand_messages_are_remembered_those_released_last() -> None:
    postponed = PostponedMessages()
    for number in range(1001):
        postponed.add(in_flight(str(number)), Dependency.S3, 60)
    assert [message.receipt for message in postponed.take(Dependency.S3)] == [str(n) for n in range(1, 1001)]
