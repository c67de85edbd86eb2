"""A queue worker: outcomes, batches, retries and dead letters. In virtual time, on a queue in memory."""

import time
from collections import Counter
from itertools import pairwise

import pytest

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import DUPLICATE, STALE, Outcome
from consumer.queue.retry import RetryPolicy
from consumer.queue.worker import WorkerLimits
from media.errors import Code, Dependency, RejectedError, RetryableError, UnavailableError, UndecodableError
from tests.fakes.memory_queue import Request
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, drained, failing, nothing, until


@virtual_time
async def test_success_is_deleted_in_batches_of_ten() -> None:
    harness = Harness(limits=WorkerLimits(concurrency=20, prefetch=20, visibility=60, wait=1))
    await harness.send(*(f"m{n}" for n in range(1000)))
    sent = len(harness.queue.requests)
    async with harness.running(nothing):
        await drained(harness)
        asked = len(harness.queue.requests) - sent
    assert Counter(harness.handled) == {f"m{n}": 1 for n in range(1000)}
    assert harness.queue.count("delete") <= 110
    assert asked <= 0.25 * 1000, "receives and all, for each message"
    assert harness.metric("messages_processed_total", queue="memory", handler="test", outcome="success") == 1000


@virtual_time
async def test_a_lone_message_is_settled_within_fifty_milliseconds() -> None:
    harness = Harness()
    await harness.send("alone")
    async with harness.running(nothing):
        await until(lambda: bool(harness.handled))
        handled = time.monotonic()
        await drained(harness)
        assert [r.at - handled <= 0.06 for r in harness.queue.requests if r.operation == "delete"] == [True]


@virtual_time
async def test_retries_wait_with_jitter_and_the_last_failure_is_dead_lettered() -> None:
    harness = Harness(retry=RetryPolicy(base=2, cap=8, attempts=4))
    tried: list[float] = []

    async def work(_text: str, _message: InFlightMessage) -> None:
        tried.append(time.monotonic())
        raise RetryableError(Code.STORAGE_ERROR, "no luck")

    await harness.send("unlucky", group_id="owner")
    async with harness.running(work):
        await drained(harness)
    assert len(tried) == 4
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert all(pause <= ceiling + 2.5 for pause, ceiling in zip(pauses, [2, 4, 8], strict=True))
    assert harness.dead.bodies() == ["unlucky"]
    [attributes] = harness.dead.attributes()
    assert attributes["error"] == Code.STORAGE_ERROR
    assert attributes["reason"] == "no luck"
    assert attributes["source-queue"] == "memory"
    assert abs(float(attributes["first-received"]) - time.time()) < 60


@virtual_time
async def test_a_retry_waits_for_the_delay_that_the_handler_asks_for() -> None:
    harness = Harness()
    tried: list[float] = []

    async def work(_text: str, _message: InFlightMessage) -> None:
        tried.append(time.monotonic())
        if len(tried) == 1:
            raise RetryableError(Code.STORAGE_ERROR, "slow down", retry_after=90)

    await harness.send("later")
    async with harness.running(work):
        await drained(harness)
    assert 90 <= tried[1] - tried[0] <= 92


@virtual_time
async def test_uncounted_retries_wait_longer_and_longer_and_are_never_dead_lettered() -> None:
    harness = Harness(retry=RetryPolicy(base=2, cap=40, attempts=2))
    tried: list[float] = []

    async def work(_text: str, _message: InFlightMessage) -> None:
        tried.append(time.monotonic())
        if len(tried) < 8:
            raise RetryableError(Code.TRANSCODER_ERROR, "too early", retry_after=3, counts_as_attempt=False)

    await harness.send("early")
    async with harness.running(work):
        await drained(harness)
    pauses = [round(later - earlier) for earlier, later in pairwise(tried)]
    assert [pause // 3 for pause in pauses[:4]] == [1, 2, 4, 8]
    assert harness.dead.bodies() == []


@pytest.mark.parametrize(
    ("error", "dead"),
    [
        (UndecodableError("no sense"), True),
        (RejectedError(Code.CORRUPT, "broken"), False),
    ],
)
@virtual_time
async def test_undecodable_and_rejected_messages_are_not_retried(error: Exception, dead: bool) -> None:
    harness = Harness()
    await harness.send("hopeless")
    async with harness.running(failing(error)):
        await drained(harness)
    assert harness.handled == ["hopeless"]
    assert harness.dead.bodies() == (["hopeless"] if dead else [])


@virtual_time
async def test_an_unforeseen_error_is_retried_and_affects_no_other_message() -> None:
    harness = Harness()

    async def work(text: str, _message: InFlightMessage) -> None:
        if text == "odd" and harness.handled.count(text) < 3:
            raise ZeroDivisionError

    await harness.send("odd", "fine", "undecodable")
    async with harness.running(work):
        await drained(harness)
    assert Counter(harness.handled) == {"odd": 3, "fine": 1}
    assert harness.dead.bodies() == ["undecodable"]


@virtual_time
async def test_no_message_is_lost_while_the_dead_letter_queue_is_away() -> None:
    harness = Harness()

    async def network(_request: Request) -> None:
        if len(harness.dead.requests) < 4:
            raise UnavailableError(Dependency.SQS, "away")

    harness.dead.network = network
    await harness.send("undecodable")
    async with harness.running(nothing):
        await drained(harness)
    assert harness.dead.bodies() == ["undecodable"]


@virtual_time
async def test_one_bad_record_does_not_repeat_the_good_ones() -> None:
    harness = Harness()

    async def work(text: str, _message: InFlightMessage) -> None:
        if text == "bad":
            raise UndecodableError("bad")
        if text == "unlucky" and harness.handled.count(text) < 3:
            raise RetryableError(Code.STORAGE_ERROR)

    await harness.send("good bad unlucky better")
    async with harness.running(work):
        await drained(harness)
    assert Counter(harness.handled) == {"good": 1, "bad": 1, "unlucky": 3, "better": 1}
    assert harness.dead.bodies() == ["bad"]


@virtual_time
async def test_deletes_that_fail_are_repeated_until_they_succeed() -> None:
    harness = Harness()

    async def network(request: Request) -> None:
        if request.operation == "delete" and harness.queue.count("delete") < 4:
            raise UnavailableError(Dependency.SQS, "away")

    harness.queue.network = network
    await harness.send(*(f"m{n}" for n in range(10)))
    async with harness.running(nothing):
        await drained(harness)
    assert Counter(harness.handled) == {f"m{n}": 1 for n in range(10)}


@virtual_time
async def test_time_to_the_end_counts_neither_duplicates_nor_repetitions() -> None:
    async def work(text: str, message: InFlightMessage) -> Outcome | None:
        if text == "retried" and message.received.receive_count == 1:
            raise RetryableError(Code.STORAGE_ERROR)
        return {"duplicate": DUPLICATE, "stale": STALE}.get(text)

    harness = Harness()
    await harness.send("duplicate", "stale", "retried", "done")
    async with harness.running(work):
        await drained(harness)
    assert Counter(harness.handled) == {"duplicate": 1, "stale": 1, "retried": 2, "done": 1}
    assert harness.metric("message_dwell_seconds_count", queue="memory") == 2
