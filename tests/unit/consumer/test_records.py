"""A message of many records: each has its own outcome, and none is too strange."""

import json
from typing import Any

import pytest

from consumer.decoders import ObjectCreated, decode_upload
from consumer.queue.in_flight import UndecodableRecord
from media.errors import UndecodableError
from tests.unit.consumer.test_decoders import _record, only_key, s3_event

BAD_RECORDS: list[Any] = [
    None,
    {},
    {"eventName": "ObjectCreated:Put"},
    {**_record("x"), "eventVersion": "3.0"},
    _record(""),
    _record("uploads/%00"),
    {**_record("x"), "s3": {"bucket": {"name": "b"}, "object": {"key": "x", "size": 2**63}}},
    {**_record("x"), "s3": {"bucket": {"name": "b"}, "object": {"key": "x", "versionId": "v\0"}}},
    {**_record("x"), "s3": {"bucket": {"name": "b"}, "object": {"key": "x", "sequencer": "\ud800"}}},
]


@pytest.mark.parametrize("bad", BAD_RECORDS, ids=range(len(BAD_RECORDS)))
def test_a_record_that_makes_no_sense_takes_no_other_with_it(bad: Any) -> None:
    good, strange, other = decode_upload(json.dumps({"Records": [_record("a"), bad, _record("b")]}))
    assert isinstance(good, ObjectCreated)
    assert isinstance(strange, UndecodableRecord)
    assert isinstance(other, ObjectCreated)
    assert (good.stored.version.key, other.stored.version.key) == ("a", "b")
    assert json.loads(strange.body) == {"Records": [bad]}
    with pytest.raises(UndecodableError):
        decode_upload(strange.body)


def test_more_records_than_anybody_sends_are_refused_at_once() -> None:
    with pytest.raises(UndecodableError, match="1001 records"):
        decode_upload(json.dumps({"Records": [{}] * 1001}))


def test_three_envelopes_are_opened_and_no_fourth() -> None:
    body = s3_event("k")
    for _ in range(3):
        body = json.dumps({"Type": "Notification", "Message": body})
    assert only_key(body) == "k"
    with pytest.raises(UndecodableError, match="more than 3 envelopes"):
        decode_upload(json.dumps({"Type": "Notification", "Message": body}))
