"""Messages of several records, their traces, and what counts as a failure. In virtual time."""

import structlog

from consumer.queue.executor import GIVE_UP_RECEIVES
from consumer.queue.in_flight import InFlightMessage
from consumer.queue.retry import FailureCounts, RetryPolicy
from media.errors import Code, Dependency, RetryableError, UnavailableError, UndecodableError
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, drained, nothing, until

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"


@virtual_time
async def test_each_record_has_its_own_outcome_and_keeps_trace_and_owner() -> None:
    harness = Harness()
    seen: list[tuple[str, str, str]] = []
    bound: list[object] = []

    async def work(text: str, message: InFlightMessage) -> None:
        seen.append((text, message.trace_id, message.received.group_id))
        bound.append(structlog.contextvars.get_contextvars().get("asset_id"))
        structlog.contextvars.bind_contextvars(asset_id=text)
        if text == "ann:bad":
            raise UndecodableError("bad")
        if text == "bob:again" and harness.handled.count(text) == 1:
            raise RetryableError(Code.STORAGE_ERROR)

    await harness.queue.send("bob:again ann:bad bob:good", trace=TRACE)
    async with harness.running(work):
        await until(lambda: len(seen) == 4)
    assert seen[-1] == ("bob:again", TRACE, "bob"), "sent again alone, with its owner and trace"
    assert bound == [None] * 4, "no record logs under another's asset"
    [dead_letter] = await harness.dead.receive(limit=10, wait=0, visibility=10)
    assert (dead_letter.body, dead_letter.trace) == ("ann:bad", TRACE)


@virtual_time
async def test_logs_of_a_handler_name_its_queue_its_message_and_its_trace() -> None:
    harness = Harness()
    bound: list[dict[str, object]] = []

    async def work(_text: str, _message: InFlightMessage) -> None:
        bound.append(structlog.contextvars.get_contextvars())

    await harness.queue.send("a", trace=TRACE)
    async with harness.running(work):
        await drained(harness)
    assert bound == [{"queue": "memory", "message_id": "m1", "trace_id": TRACE}]


@virtual_time
async def test_a_trace_that_is_made_up_is_kept_for_the_retry() -> None:
    harness = Harness()

    async def work(text: str, _message: InFlightMessage) -> None:
        if text == "again" and harness.handled.count(text) == 1:
            raise RetryableError(Code.STORAGE_ERROR)

    await harness.send("again good")
    async with harness.running(work):
        await until(lambda: len(harness.handled) == 3)
    traces = {message.trace_id for message in harness.messages}
    assert len(traces) == 1
    assert traces.pop().startswith("Root=1-")


@virtual_time
async def test_records_that_die_together_make_one_dead_letter() -> None:
    harness = Harness()

    async def work(text: str, _message: InFlightMessage) -> None:
        if text == "foreign":
            raise UndecodableError("not ours", Code.BUCKET_NOT_ALLOWED)
        if text.startswith("wrong"):
            raise UndecodableError(f"no asset has the key {text}", Code.UNKNOWN_ASSET)
        if text == "again" and harness.handled.count(text) == 1:
            raise RetryableError(Code.STORAGE_ERROR)

    body = " ".join(["good", "again", "foreign", "wrong0", *(f"wrong{n}" for n in range(996))])
    await harness.send(body)
    async with harness.running(work):
        await drained(harness)
    assert (harness.handled.count("good"), harness.handled.count("again")) == (1, 2)
    assert harness.dead.bodies() == [body]
    [attributes] = harness.dead.attributes()
    assert attributes["error"] == "unknown_asset"
    named = "not ours; no asset has the key wrong0; no asset has the key wrong1"
    assert attributes["reason"] == f"998 of 1000 records: {named}"


@virtual_time
async def test_messages_that_cannot_be_decoded_share_requests() -> None:
    harness = Harness()
    await harness.send(*["undecodable"] * 100)
    async with harness.running(nothing):
        await drained(harness)
    assert len(harness.dead.bodies()) == 100
    assert harness.dead.count("send_batch") <= 20


@virtual_time
async def test_once_a_dependency_is_away_the_other_records_wait_too() -> None:
    harness = Harness()
    away = True

    async def work(_text: str, _message: InFlightMessage) -> None:
        if away:
            raise UnavailableError(Dependency.S3, "away")

    await harness.send(" ".join(f"p{n}" for n in range(50)))
    async with harness.running(work):
        await until(lambda: harness.queue.count("change_visibility") == 1)
        assert harness.handled == ["p0"]
        away = False
        await drained(harness)
    assert harness.queue.count("send") == 1, "released as it came: no record was done"
    assert harness.handled == ["p0", *(f"p{n}" for n in range(50))]


@virtual_time
async def test_an_outage_costs_a_message_no_attempt() -> None:
    harness = Harness(retry=RetryPolicy(attempts=3))
    errors = [UnavailableError(Dependency.S3, "away")] * 6 + [RetryableError(Code.STORAGE_ERROR)] * 2

    async def work(_text: str, _message: InFlightMessage) -> None:
        if errors:
            raise errors.pop(0)

    await harness.send("a")
    async with harness.running(work):
        await drained(harness)
    assert harness.dead.bodies() == []


@virtual_time
async def test_a_late_failure_is_dead_lettered_with_its_reason_before_sqs_does_it_without() -> None:
    harness = Harness()

    async def work(_text: str, message: InFlightMessage) -> None:
        if message.received.receive_count < GIVE_UP_RECEIVES:
            raise UnavailableError(Dependency.S3, "away")
        raise RetryableError(Code.STORAGE_ERROR, "refused")

    await harness.send("a")
    async with harness.running(work):
        await until(lambda: not harness.queue.bodies(), deadline=40_000)
    assert [attributes["error"] for attributes in harness.dead.attributes()] == [Code.STORAGE_ERROR]


def test_only_so_many_failures_are_remembered() -> None:
    failures = FailureCounts(most=2)
    assert [failures.add("a"), failures.add("b"), failures.add("a"), failures.add("c")] == [1, 1, 2, 1]
    assert failures.add("b") == 1, "forgotten: the two that failed last are a and c"
    failures.forget("c")
    assert failures.add("c") == 1
