"""How a message's outcome becomes a delay, a dead letter and a figure, to the number. In virtual time."""

import asyncio
import random
import re
import time
from collections.abc import Sequence
from itertools import pairwise
from unittest import mock

import pytest

from consumer.queue.in_flight import InFlightMessage, Record, UndecodableRecord
from consumer.queue.outcome import Outcome, OutcomeKind
from consumer.queue.retry import RetryPolicy
from media.errors import Code, Dependency, RejectedError, RetryableError, UnavailableError, UndecodableError
from tests.fakes.memory_queue import Request
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, Text, delays, drained, failing, nothing, until, use_up_receives, words

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793"
S3_AWAY = UnavailableError(Dependency.S3, "away")


@pytest.mark.parametrize(
    ("receives", "least", "most"),
    [(1, 2, 4), (2, 4, 8), (8, 256, 512), (9, 512, 1024), (10, 600, 1200), (40, 600, 1200)],
)
@virtual_time
async def test_an_outage_releases_for_longer_each_time_up_to_ten_minutes(receives: int, least: int, most: int) -> None:
    for lowest, expected in [(True, least), (False, most)]:
        harness = Harness()
        await harness.send("patient")
        await use_up_receives(harness, receives - 1)
        with mock.patch.object(random, "uniform", lambda low, high, lowest=lowest: low if lowest else high):
            async with harness.running(failing(S3_AWAY)):
                await until(lambda harness=harness: bool(delays(harness)))  # type: ignore[misc]
        assert delays(harness)[0] == expected


@pytest.mark.parametrize(("receives", "dead"), [(17, False), (18, True), (19, True)])
@virtual_time
async def test_the_eighteenth_receive_is_the_last_one(receives: int, dead: bool) -> None:
    harness = Harness(retry=RetryPolicy(attempts=100))
    await harness.send("late")
    await use_up_receives(harness, receives - 1)
    async with harness.running(failing(RetryableError(Code.STORAGE_ERROR, "refused"))):
        await until(lambda: bool(harness.dead.bodies() or delays(harness)))
    assert bool(harness.dead.bodies()) == dead


@virtual_time
async def test_uncounted_failures_wait_even_at_the_last_receives_and_at_most_for_the_cap() -> None:
    harness = Harness(retry=RetryPolicy(cap=70, attempts=1))
    await harness.send("early")
    await use_up_receives(harness, 18)
    error = RetryableError(Code.TRANSCODER_ERROR, retry_after=3, counts_as_attempt=False)
    async with harness.running(failing(error)):
        await until(lambda: bool(delays(harness)))
    assert (delays(harness)[0], harness.dead.bodies()) == (70, [])


@pytest.mark.parametrize(("receives", "delay"), [(1, 3), (2, 6), (4, 24)])
@virtual_time
async def test_uncounted_failures_double_their_delay(receives: int, delay: int) -> None:
    harness = Harness()
    await harness.send("early")
    await use_up_receives(harness, receives - 1)
    error = RetryableError(Code.TRANSCODER_ERROR, retry_after=3, counts_as_attempt=False)
    async with harness.running(failing(error)):
        await until(lambda: bool(delays(harness)))
    assert delays(harness)[0] == delay


@virtual_time
async def test_the_delay_that_a_counted_failure_asks_for_is_kept_to() -> None:
    harness = Harness(retry=RetryPolicy(cap=1))
    await harness.send("a")
    async with harness.running(failing(RetryableError(Code.STORAGE_ERROR, retry_after=0))):
        await until(lambda: bool(delays(harness)))
    assert delays(harness)[0] == 0


@virtual_time
async def test_a_success_ends_the_counting_of_failures() -> None:
    harness = Harness(retry=RetryPolicy(base=0.1, attempts=3))
    results = [RetryableError(Code.STORAGE_ERROR)] * 2

    async def work(_text: str, message: InFlightMessage) -> Outcome | None:
        if results:
            raise results.pop()
        if message.received.receive_count == 3:
            return Outcome(OutcomeKind.DUPLICATE)
        return None

    await harness.send("a")
    async with harness.running(work) as worker:
        await drained(harness)
        executor = worker._executor
        [received] = {message.received.message_id: message.received for message in harness.messages}.values()
        again = executor.retry_or_give_up(RetryableError(Code.STORAGE_ERROR), received)
    assert again.kind is OutcomeKind.RETRY


@virtual_time
async def test_a_dead_letter_has_all_that_an_operator_needs() -> None:
    harness = Harness()
    await harness.queue.send("ann:a", group_id="ann", trace=TRACE)
    await harness.queue.receive(limit=1, wait=0, visibility=0)
    [stored] = harness.queue.messages.values()
    stored.first = 1_700_000_000.1234
    async with harness.running(failing(UndecodableError("no sense", Code.CORRUPT))):
        await drained(harness)
    [letter] = await harness.dead.receive(limit=10, wait=0, visibility=10)
    assert (letter.body, letter.group_id, letter.trace) == ("ann:a", "ann", TRACE)
    assert harness.dead.attributes() == [
        {"error": "corrupt", "reason": "no sense", "source-queue": "memory", "first-received": "1700000000.123"}
    ]


@pytest.mark.parametrize("body", ["a", "a good"])
@virtual_time
async def test_an_error_that_nobody_foresaw_is_named_in_the_dead_letter(body: str) -> None:
    harness = Harness(retry=RetryPolicy(base=0.1, attempts=2))

    async def work(text: str, _message: InFlightMessage) -> None:
        if text == "a":
            raise ZeroDivisionError("by zero")

    await harness.send(body)
    async with harness.running(work):
        await until(lambda: bool(harness.dead.bodies()))
        assert harness.handled.count("good") == body.count("good")
    [attributes] = harness.dead.attributes()
    assert (attributes["error"], attributes["reason"]) == (Code.UNFORESEEN, "ZeroDivisionError('by zero')")


@virtual_time
async def test_a_dead_letter_that_cannot_be_sent_waits_as_for_any_outage() -> None:
    harness = Harness()
    harness.dead.error = UnavailableError(Dependency.SQS, "away")
    await harness.send("undecodable")
    await use_up_receives(harness, 2)
    async with harness.running(nothing):
        await until(lambda: bool(delays(harness)))
    assert 8 <= delays(harness)[0] <= 16


@virtual_time
async def test_a_trace_that_is_not_of_x_rays_form_is_handled_but_not_sent_on() -> None:
    harness = Harness()
    await harness.queue.send("a", trace="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    async with harness.running(failing(UndecodableError("no"))):
        await drained(harness)
    [letter] = await harness.dead.receive(limit=10, wait=0, visibility=10)
    assert letter.trace == ""
    assert harness.messages[0].trace_id.startswith("00-4bf9")


@virtual_time
async def test_times_from_sending_to_the_end_are_observed_once_and_never_negative() -> None:
    harness = Harness()

    async def send(sent: float, body: str = "quick") -> None:
        await harness.send(body)
        [*_, stored] = harness.queue.messages.values()
        stored.sent = sent

    async def work(text: str, _message: InFlightMessage) -> None:
        await asyncio.sleep(7 if text == "slow" else 0)
        raise RejectedError(Code.CORRUPT)

    async with harness.running(work):
        await send(0.0)  # unknown
        await send(time.time() + 50)  # by a clock that is ahead
        await drained(harness)
        assert harness.metric("message_dwell_seconds_sum", queue="memory") == 0
        await send(time.time() - 100, "slow")
        await drained(harness)
    assert harness.metric("message_dwell_seconds_count", queue="memory") == 2
    assert harness.metric("message_dwell_seconds_sum", queue="memory") == pytest.approx(100, abs=5)
    assert harness.metric("handler_duration_seconds_count", queue="memory", handler="test") == 3
    assert harness.metric("handler_duration_seconds_sum", queue="memory", handler="test") == pytest.approx(7)
    assert harness.metric("messages_processed_total", queue="memory", handler="test", outcome="rejected") == 3


@virtual_time
async def test_times_have_the_trace_of_the_message_or_the_earlier_one_of_its_work() -> None:
    harness = Harness()

    async def work(text: str, message: InFlightMessage) -> None:
        await asyncio.sleep(1000 if text == "late" else 0)
        message.earlier_trace = "Root=1-2-3" if text == "late" else ""

    await harness.queue.send("early", trace=TRACE)
    await harness.queue.send("late", trace=TRACE)
    [*_, late] = harness.queue.messages.values()
    late.sent -= 100  # its dwell is counted by the clock, and a bucket holds one trace
    async with harness.running(work):
        await drained(harness)
    for metric in (harness.metrics.duration, harness.metrics.dwell):
        samples = next(iter(metric.collect())).samples
        traces = [sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar]
        assert traces == [TRACE, "Root=1-2-3"]


def decode_broken(body: str) -> Sequence[Record]:
    """Decode words; `broken` is a record that cannot be decoded."""
    return [
        UndecodableRecord(UndecodableError("broken"), word, "eve") if word == "broken" else Text(word)
        for word in body.split()
    ]


@pytest.mark.parametrize("body", ["broken", "fine broken better"])
@virtual_time
async def test_a_record_that_cannot_be_decoded_is_dead_lettered_alone(body: str) -> None:
    harness = Harness(decode=decode_broken)
    await harness.send(body)
    async with harness.running(nothing):
        await drained(harness)
    assert harness.handled == [word for word in body.split() if word != "broken"]
    assert harness.dead.bodies() == ["broken"]
    assert [attributes["reason"] for attributes in harness.dead.attributes()] == ["broken"]


@virtual_time
async def test_two_records_that_die_alike_make_one_dead_letter_with_one_reason() -> None:
    harness = Harness(decode=decode_broken)
    await harness.send("broken fine broken")
    async with harness.running(nothing):
        await drained(harness)
    assert harness.dead.bodies() == ["broken fine broken"]
    assert [attributes["reason"] for attributes in harness.dead.attributes()] == ["2 of 3 records: broken"]


@virtual_time
async def test_records_that_must_be_retried_are_sent_with_their_delay_and_owner() -> None:
    harness = Harness()
    tried: dict[str, list[float]] = {}

    async def work(text: str, _message: InFlightMessage) -> None:
        tried.setdefault(text, []).append(time.monotonic())
        if len(tried[text]) == 1 and text != "good":
            raise RetryableError(Code.STORAGE_ERROR, retry_after=30.9)

    await harness.send("bob:a ownerless good", group_id="group")
    async with harness.running(work):
        await until(lambda: len(harness.handled) == 5, deadline=60)
    assert {text: [round(later - earlier) for earlier, later in pairwise(times)] for text, times in tried.items()} == {
        "bob:a": [30],
        "ownerless": [30],
        "good": [],
    }
    assert {m.received.body: m.received.group_id for m in harness.messages[3:]} == {
        "bob:a": "bob",
        "ownerless": "group",
    }


@virtual_time
async def test_records_that_cannot_be_sent_again_keep_their_message() -> None:
    harness = Harness()
    refusals = 2

    async def network(request: Request) -> None:
        nonlocal refusals
        if request.operation.startswith("send") and refusals and harness.handled:
            refusals -= 1
            raise UnavailableError(Dependency.SQS, "away")

    async def work(text: str, _message: InFlightMessage) -> None:
        if text == "again" and harness.handled.count(text) < 4:
            raise RetryableError(Code.STORAGE_ERROR)

    harness.queue.network = network
    await harness.send("again good")
    async with harness.running(work):
        await drained(harness)
        assert [delay >= 2 for delay in delays(harness)] == [True, True]
    assert (harness.handled.count("again"), harness.handled.count("good")) == (4, 3)


@virtual_time
async def test_a_record_that_another_worker_has_does_not_hold_up_the_others() -> None:
    harness = Harness()

    async def work(text: str, _message: InFlightMessage) -> Outcome | None:
        return Outcome(OutcomeKind.RELEASED, 5) if text == "busy" and harness.handled.count(text) == 1 else None

    await harness.send("busy good busy2")
    async with harness.running(work):
        await drained(harness)
    assert sorted(harness.handled) == ["busy", "busy", "busy2", "good"]


@virtual_time
async def test_all_records_that_must_be_retried_stay_one_message() -> None:
    harness = Harness()

    async def work(text: str, _message: InFlightMessage) -> None:
        if harness.handled.count(text) == 1:
            raise RetryableError(Code.STORAGE_ERROR, retry_after=5 if text == "b" else 2)

    await harness.send("a b")
    async with harness.running(work):
        await drained(harness)
    assert harness.handled == ["a", "b", "a", "b"]
    assert delays(harness) == [5]


@virtual_time
async def test_what_was_released_for_long_is_recalled_within_two_seconds() -> None:
    harness = Harness()
    away = True
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    async def probe() -> None:
        if away:
            raise S3_AWAY

    async def work(_text: str, _message: InFlightMessage) -> None:
        if away:
            raise S3_AWAY

    harness.probes = {Dependency.S3: probe}
    await harness.send("a")
    await use_up_receives(harness, 4)
    with mock.patch.object(random, "uniform", uniform):
        async with harness.running(work):
            await until(lambda: bool(delays(harness)))
            away = False
            await until(lambda: len(delays(harness)) == 2)
            await drained(harness)
    assert delays(harness) == [32, 0]
    assert (0.0, 2.0) in drawn


@virtual_time
async def test_a_message_without_a_trace_gets_one_of_x_rays_form() -> None:
    harness = Harness()
    await harness.send("a", "b")
    async with harness.running(nothing):
        await drained(harness)
    ids = [message.trace_id for message in harness.messages]
    assert len(set(ids)) == 2
    for trace_id in ids:
        form = re.fullmatch(r"Root=1-([0-9a-f]{8})-[0-9a-f]{24}", trace_id)
        assert form
        assert abs(int(form[1], 16) - time.time()) < 600


@virtual_time
async def test_a_decoder_that_fails_makes_a_dead_letter() -> None:
    def decode(body: str) -> Sequence[Record]:
        if body == "odd":
            raise KeyError("Records")
        return words(body)

    harness = Harness(decode=decode)
    await harness.send("odd", "fine")
    async with harness.running(nothing):
        await drained(harness)
    assert harness.handled == ["fine"]
    [attributes] = harness.dead.attributes()
    assert (attributes["error"], attributes["reason"]) == (Code.UNFORESEEN, "the decoder failed: KeyError('Records')")


@virtual_time
async def test_a_message_knows_its_owner_and_until_when_it_is_ours() -> None:
    harness = Harness()
    await harness.send("ann:a bob:b")
    await harness.send("ann:c", group_id="group")
    await harness.send("")
    began = time.monotonic()
    async with harness.running(nothing) as worker:
        await drained(harness)
        assert (worker.in_flight, worker.busy) == (0, False)
    assert [m.owner for m in harness.messages] == ["ann", "ann", "group"]
    assert {(m.taken - began, m.expires - began) for m in harness.messages} == {(0, 60)}
    assert harness.metric("messages_received_total", queue="memory") == 3
    assert harness.metric("messages_processed_total", queue="memory", handler="test", outcome="ignored") == 1
