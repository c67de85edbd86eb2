"""Whatever SQS answers: the worker lives, every message is handled, and none is deleted that was not handled."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from consumer.queue.part_health import HOPELESS, PartFailedError, PartHealth, watch_parts
from media.aws.sqs import FailedEntry, MessageQueue, Received
from tests.fakes.memory_queue import MemoryQueue
from tests.fakes.virtual_time import virtual_time
from tests.fakes.workers import Harness, nothing, until

STALE = RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired.")
LATIN_1 = UnicodeDecodeError("utf-8", b"f\xfcr", 1, 2, "invalid start byte")
ODD = st.one_of(
    st.sampled_from([STALE, KeyError("Token"), LATIN_1, TimeoutError(), ValueError("x"), OSError(), TypeError("x")]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "Id", "Code"]), inner),
        max_leaves=5,
    ),
    st.fixed_dictionaries(
        {},
        optional={
            name: st.none() | st.integers() | st.lists(st.fixed_dictionaries({}, optional={"Id": ids, "Code": ids}))
            for name in ("Messages", "Failed", "Successful", "Attributes")
            for ids in [st.none() | st.integers(-2, 20) | st.integers(-2, 20).map(str)]
        },
    ),
)
"""An exception is raised, anything else is the answer."""


@dataclass(slots=True)
class OddClient:
    """An SQS client on a queue in memory. While `odd` has answers, each call gets one of them and does nothing."""

    queue: MemoryQueue
    odd: list[Any] = field(default_factory=list)

    def _next(self) -> Any:
        answer = self.odd.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def receive_message(self, **asked: Any) -> Any:
        if self.odd:
            await asyncio.sleep(0.1)
            return self._next()
        found = await self.queue.receive(
            limit=asked["MaxNumberOfMessages"], wait=asked["WaitTimeSeconds"], visibility=asked["VisibilityTimeout"]
        )
        return {"Messages": [_document(message) for message in found]} if found else {}

    async def delete_message_batch(self, **asked: Any) -> Any:
        receipts = [entry["ReceiptHandle"] for entry in asked["Entries"]]
        return self._next() if self.odd else _batch(receipts, await self.queue.delete(receipts))

    async def change_message_visibility_batch(self, **asked: Any) -> Any:
        delays = {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in asked["Entries"]}
        return self._next() if self.odd else _batch(list(delays), await self.queue.change_visibility(delays))


def _document(message: Received) -> dict[str, Any]:
    counts = {"ApproximateReceiveCount": str(message.receive_count)}
    ids = {"MessageId": message.message_id, "ReceiptHandle": message.receipt}
    return {**ids, "Body": message.body, "Attributes": counts}


def _batch(receipts: Sequence[str], failures: Sequence[FailedEntry]) -> dict[str, Any]:
    failed = {failure.receipt: failure.code for failure in failures}
    told: dict[str, list[Any]] = {"Successful": [], "Failed": []}
    for number, receipt in enumerate(receipts):
        code = {"Code": failed[receipt]} if receipt in failed else {}
        told["Failed" if code else "Successful"].append({"Id": str(number), **code})
    return told


def odd_harness() -> tuple[Harness, OddClient]:
    """Return a harness whose worker has the real adapter, on a client that answers as it likes."""
    harness = Harness()
    client = OddClient(harness.queue)
    harness.queue = cast("MemoryQueue", MessageQueue(cast("Any", client), "memory", "memory://memory"))
    return harness, client


@pytest.fixture(autouse=True)
def captured() -> Iterator[None]:
    """Render no traces: they take most of the time."""
    with capture_logs():
        yield


ANSWERS = {"early": st.lists(ODD, max_size=6), "late": st.lists(ODD, min_size=1, max_size=6)}
UNCHECKED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=40, deadline=None, suppress_health_check=UNCHECKED)
@given(**ANSWERS)
@example(early=[STALE, KeyError("Token"), LATIN_1], late=[None, [], 7, "x", STALE])
def test_no_answer_of_sqs_ends_a_worker(early: list[Any], late: list[Any]) -> None:
    work_through(early, late)


@pytest.mark.soak
@pytest.mark.timeout(3000)
@settings(max_examples=2_000, deadline=None, suppress_health_check=UNCHECKED)
@given(**ANSWERS)
def test_ten_thousand_answers_end_no_worker(early: list[Any], late: list[Any]) -> None:
    work_through(early, late)


def work_through(early: list[Any], late: list[Any]) -> None:
    """Handle twelve messages; SQS answers oddly before they are held, and while they are."""

    @virtual_time
    async def run() -> None:
        harness, client = odd_harness()
        memory = client.queue
        client.odd = early[:]
        finish = asyncio.Event()

        async def work(_text: str, _message: object) -> None:
            await finish.wait()

        for number in range(12):
            await memory.send(f"m{number}")
        async with harness.running(work):
            await until(lambda: len(harness.handled) >= 10, deadline=600)
            client.odd = late[:]  # the next calls are heartbeats, receives and acknowledgements
            await asyncio.sleep(30)
            assert len(memory.bodies()) == 12, "nothing is acknowledged that was not done"
            finish.set()
            await until(lambda: not memory.bodies(), deadline=7200)
        assert set(harness.handled) == {f"m{number}" for number in range(12)}

    run()


@virtual_time
async def test_part_that_keeps_failing_makes_the_daemon_unready_then_ends_it() -> None:
    harness, client = odd_harness()
    async with harness.running(nothing) as worker:
        watching = asyncio.create_task(watch_parts(worker.health))
        client.odd = [None] * 10_000
        await until(lambda: any(part.keeps_failing for part in worker.health), deadline=60)
        await asyncio.sleep(HOPELESS / 2)
        assert not watching.done()
        with pytest.raises(PartFailedError, match="poller of memory"):
            await asyncio.wait_for(watching, HOPELESS)
        client.odd = []


@virtual_time
async def test_success_and_foreseen_failures_end_no_daemon() -> None:
    part = PartHealth("part")
    watching = asyncio.create_task(watch_parts([part]))
    for _ in range(100):
        part.failed(TimeoutError())
        await asyncio.sleep(30)
    for _ in range(100):
        part.failed(KeyError())
        part.failed(KeyError())
        part.succeeded()
        await asyncio.sleep(30)
    assert not part.keeps_failing
    assert not watching.done()
    watching.cancel()
