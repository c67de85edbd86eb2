"""The adapter checks what EventBridge refuses, splits what is too much, and tells failures apart by their index."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.session import get_session
from botocore.validate import ParamValidator

from media.errors import UnavailableError
from media.events.eventbridge import BATCH_BYTES, BusEntry, EventBus

AT = datetime(2026, 1, 1, tzinfo=UTC)
PUT = get_session().get_service_model("events").operation_model("PutEvents")


def entry(detail: str = "{}", *, source: str = "docfliq.media", detail_type: str = "Media Asset Ready") -> BusEntry:
    return BusEntry(source, detail_type, detail, AT)


class Client:
    """A stand-in for EventBridge's client, which takes only what botocore's model of the API allows."""

    def __init__(self, answer: Callable[[list[Any]], Any] | None = None) -> None:
        self.calls: list[list[Any]] = []
        self._answer = answer or (lambda entries: {"Entries": [{"EventId": "e"}] * len(entries)})

    async def put_events(self, *, Entries: list[Any]) -> Any:  # noqa: N803 - AWS's name
        assert PUT.input_shape
        report = ParamValidator().validate({"Entries": Entries}, PUT.input_shape)
        assert not report.has_errors(), report.generate_report()
        self.calls.append(Entries)
        return self._answer(Entries)

    async def describe_event_bus(self, *, Name: str) -> Any:  # noqa: N803 - AWS's name
        return self._answer([Name])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry("[]"), "no JSON object"),
        (entry("{"), "no JSON object"),
        (entry(""), "no JSON object"),
        (entry(source=""), "cannot be a source"),
        (entry(source="aws.media"), "cannot be a source"),
        (entry(detail_type=""), "cannot be a detail type"),
        (entry(detail_type="x" * 129), "cannot be a detail type"),
        (entry(json.dumps({"x": "y" * BATCH_BYTES})), "bytes, of at most"),
        (entry('{"x": "' + "ü" * (BATCH_BYTES // 2) + '"}'), "bytes, of at most"),
    ],
)
async def test_what_eventbridge_refuses_is_not_sent(bad: BusEntry, reason: str) -> None:
    client = Client()
    first, error, last = await EventBus(client, "bus").put([entry(), bad, entry()])
    assert (first, last) == ("", "")
    assert reason in error
    assert [len(call) for call in client.calls] == [2], "the others are"


async def test_entries_go_ten_a_call() -> None:
    client = Client()
    assert await EventBus(client, "bus").put([entry(f'{{"n": {n}}}') for n in range(25)]) == [""] * 25
    assert [len(call) for call in client.calls] == [10, 10, 5]
    assert {sent["EventBusName"] for call in client.calls for sent in call} == {"bus"}


async def test_a_call_is_never_larger_than_aws_takes() -> None:
    client = Client()
    detail = json.dumps({"x": "ü" * 100_000}, ensure_ascii=False)
    await EventBus(client, "bus").put([entry(detail)] * 10)
    sizes = [sum(len(one["Detail"].encode()) for one in call) for call in client.calls]
    assert sum(map(len, client.calls)) == 10
    assert max(sizes) < BATCH_BYTES


async def test_failures_are_told_by_their_index() -> None:
    def answer(entries: list[Any]) -> Any:
        results = [
            {"ErrorCode": "ThrottlingException", "ErrorMessage": "slower"}
            if "odd" in one["Detail"]
            else {"EventId": "e"}
            for one in entries
        ]
        return {"FailedEntryCount": 6, "Entries": results}

    details = [json.dumps({"odd": 1} if n % 2 else {"even": 1}) for n in range(12)]
    errors = await EventBus(Client(answer), "bus").put([entry(detail) for detail in details])
    assert errors == ["", "ThrottlingException: slower"] * 6


@pytest.mark.parametrize(
    "answer",
    [{}, None, [], {"Entries": None}, {"Entries": []}, {"Entries": [{"EventId": "e"}] * 2}, {"FailedEntryCount": 0}],
)
async def test_an_odd_answer_takes_nothing(answer: Any) -> None:
    with pytest.raises(UnavailableError, match="odd answer"):
        await EventBus(Client(lambda _: answer), "bus").put([entry()])


@pytest.mark.parametrize("result", [{}, None, "taken", {"EventId": ""}, {"EventId": None}])
async def test_an_entry_without_an_id_is_not_taken(result: Any) -> None:
    [error] = await EventBus(Client(lambda _: {"Entries": [result]}), "bus").put([entry()])
    assert error


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no bus"}}, "DescribeEventBus"),
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "PutEvents"),
        ClientError({"Error": {"Code": "InternalException"}, "ResponseMetadata": {"HTTPStatusCode": 500}}, "PutEvents"),  # type: ignore[typeddict-item]
        EndpointConnectionError(endpoint_url="http://x"),
        TimeoutError(),
        ConnectionResetError(),
    ],
)
async def test_a_call_that_fails_is_an_outage(error: Exception) -> None:
    def fail(_: list[Any]) -> Any:
        raise error

    bus = EventBus(Client(fail), "bus")
    for call in (bus.check(), bus.put([entry()])):
        with pytest.raises(UnavailableError, match="eventbridge"):
            await call


async def test_the_bus_must_be_there() -> None:
    await EventBus(Client(lambda _: {"Name": "bus", "Arn": "arn"}), "bus").check()
    with pytest.raises(UnavailableError, match="odd answer"):
        await EventBus(Client(lambda _: {}), "bus").check()
