"""Every event of the shared corpus yields what its MANIFEST states; any text yields records or UndecodableError."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from consumer.decoders import (
    ObjectCreated,
    decode_image,
    decode_recording,
    decode_transcode,
    decode_transcode_event,
    decode_upload,
)
from consumer.queue.in_flight import UndecodableRecord
from handlers.transcode.mediaconvert.events import JobStatus, parse_event
from media.errors import UndecodableError

CORPUS = Path(__file__).parents[3] / "../shared/corpus"
MANIFEST = CORPUS / "MANIFEST.tsv"
DECODERS: list[Callable[[str], Sequence[Any]]] = [
    decode_upload,
    decode_image,
    decode_transcode,
    decode_recording,
    decode_transcode_event,
]


def manifest() -> list[tuple[str, str]]:
    """File name and expectation of every event; empty where the corpus is not beside the repository."""
    if not MANIFEST.is_file():
        return []
    with MANIFEST.open() as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["path"], row["expect"]) for row in rows if row["path"].startswith("events/")]


EVENTS = manifest()
needs_corpus = pytest.mark.skipif(not EVENTS, reason="the shared corpus is not beside the repository")


def bodies(path: str) -> list[str]:
    """Read the bodies in a file; one of Lambda's SQS records holds them one level down."""
    text = (CORPUS / path).read_text()
    records = json.loads(text).get("Records", [])
    inner = [record["body"] for record in records if "body" in record]
    return inner or [text]


def of(*expected: str) -> list[str]:
    return [path for path, expect in EVENTS if expect in expected]


@needs_corpus
def test_every_expectation_of_the_manifest_is_known() -> None:
    known = {
        "job:1",
        "ack:ignore",
        "ack-or-dlq",
        "infected-or-ignore",
        "vectors",
        "mc:complete",
        "mc:error",
        "mc:progress",
        "mc:progressing",
    }
    assert {expect for _, expect in EVENTS} <= known


@needs_corpus
@pytest.mark.parametrize("path", of("job:1"))
def test_an_upload_yields_one_record(path: str) -> None:
    records = [record for body in bodies(path) for record in decode_upload(body)]
    assert len(records) == 1
    assert isinstance(records[0], ObjectCreated)
    assert records[0].stored.version.bucket
    assert records[0].stored.version.key


@needs_corpus
@pytest.mark.parametrize("path", of("ack:ignore", "infected-or-ignore"))
def test_other_events_yield_nothing_and_are_acknowledged(path: str) -> None:
    assert [list(decode_upload(body)) for body in bodies(path)] == [[]]


@needs_corpus
@pytest.mark.parametrize("path", of("ack-or-dlq"))
@pytest.mark.parametrize("decode", DECODERS)
def test_files_that_are_no_events_are_undecodable(path: str, decode: Callable[[str], object]) -> None:
    for body in bodies(path):
        with pytest.raises(UndecodableError):
            decode(body)


@needs_corpus
@pytest.mark.parametrize(
    ("expect", "status"),
    [
        ("mc:complete", JobStatus.COMPLETE),
        ("mc:error", JobStatus.ERROR),
        ("mc:progress", JobStatus.STATUS_UPDATE),
        ("mc:progressing", JobStatus.PROGRESSING),
    ],
)
def test_job_events_are_decoded(expect: str, status: JobStatus) -> None:
    for path in of(expect):
        [record] = decode_transcode_event((CORPUS / path).read_text())
        event = parse_event(record.detail)
        assert event.status is status
        assert event.job_id


@needs_corpus
def test_samples_yield_the_values_that_the_manifest_names() -> None:
    """Keys, versions, codes and sizes in the MANIFEST's prose."""
    keys = {
        "awsgo-s3-event.json": "Happy Face.jpg",
        "recorded-s3-key-encoding-at-sign.json": "a@b",
        "recorded-s3-created-put-presigned.json": "key-by-hostname",
        "powertools-s3EventBridgeNotificationObjectCreatedEvent.json": "IMG_m7fzo3.jpg",
    }
    for name, key in keys.items():
        [record] = decode_upload((CORPUS / "events" / name).read_text())
        assert isinstance(record, ObjectCreated)
        assert record.stored.version.key == key
    [versioned] = decode_upload((CORPUS / "events/hmrc-s3-created-post-versioned.json").read_text())
    assert isinstance(versioned, ObjectCreated)
    assert versioned.stored.version.version_id
    error = _event("mediaconvert-error.json")
    assert (error.error_code, bool(error.error_message)) == (1040, True)
    assert _event("mediaconvert-status-update.json").percent == 7
    hls = _event("mediaconvert-apple-hls-group.json")
    assert [(output.width, output.height) for output in hls.outputs("HLS_GROUP")] == [(426, 240), (1280, 720)]
    assert hls.groups[0].playlists


def _event(name: str) -> Any:
    [record] = decode_transcode_event((CORPUS / "events" / name).read_text())
    return parse_event(record.detail)


def vectors() -> list[tuple[str, str]]:
    path = CORPUS / "events/key-encoding-vectors.json"
    if not path.is_file():
        return []
    return [(vector["event_key"], vector["object_key"]) for vector in json.loads(path.read_text())]


def s3_event(key: str, name: str = "ObjectCreated:Put") -> str:
    return json.dumps({"Records": [_record(key, name)]})


def _record(key: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventName": name,
        "s3": {"bucket": {"name": "b"}, "object": {"key": key, "size": 3, "eTag": "e", "versionId": "v"}},
    }


def eventbridge(key: str) -> str:
    detail = {"bucket": {"name": "b"}, "object": {"key": key, "version-id": "v", "etag": "e", "size": 3}}
    return json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": detail})


def in_sns(body: str) -> str:
    return json.dumps({"Type": "Notification", "MessageId": "m", "TopicArn": "arn", "Message": body})


def only_key(body: str) -> str:
    [record] = decode_upload(body)
    assert isinstance(record, ObjectCreated)
    return record.stored.version.key


@needs_corpus
@pytest.mark.parametrize(("encoded", "plain"), vectors())
def test_a_key_is_decoded_exactly_once(encoded: str, plain: str) -> None:
    assert only_key(s3_event(encoded)) == plain
    assert only_key(in_sns(s3_event(encoded))) == plain
    assert only_key(eventbridge(encoded)) == encoded, "EventBridge's keys are as they are"
    assert only_key(in_sns(eventbridge(plain))) == plain


def test_a_key_that_looks_encoded_after_decoding_is_not_decoded_again() -> None:
    assert only_key(s3_event("a%252Bb+c")) == "a%2Bb c"
    assert only_key(eventbridge("a%2Bb+c")) == "a%2Bb+c"


def test_each_record_can_be_sent_as_a_message_of_its_own() -> None:
    body = json.dumps({"Records": [_record("a"), _record("x", "ObjectRemoved:Delete"), _record("b+c")]})
    records = decode_upload(body)
    assert [only_key(record.body) for record in records] == ["a", "b c"]


@pytest.mark.parametrize("name", ["ObjectRemoved:Delete", "s3:ObjectTagging:Put", "Replication:X", ""])
def test_other_event_names_are_ignored(name: str) -> None:
    assert decode_upload(s3_event("a", name)) == []


def test_unknown_fields_are_tolerated_and_known_ones_are_checked() -> None:
    record = _record("a") | {"new": {"deep": [1]}}
    assert len(decode_upload(json.dumps({"Records": [record]}))) == 1
    record["eventVersion"] = "3.0"
    with pytest.raises(UndecodableError):
        decode_upload(json.dumps({"Records": [record]}))


def test_too_many_envelopes_are_refused() -> None:
    body = s3_event("a")
    for _ in range(5):
        body = in_sns(body)
    with pytest.raises(UndecodableError):
        decode_upload(body)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "0",
        "{}",
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"Records": 1}',
        '{"Records": [[]]}',
        '{"Records": [null]}',
        '{"Records": [{"eventName": "ObjectCreated:Put"}]}',
        '{"type": ["scan.requested"]}',
        '{"Type": "Notification", "Message": {}}',
        '{"detail-type": [], "source": {}}',
        "9" * 5000,
        '{"source": "aws.mediaconvert"}',
        '{"source": "aws.s3", "detail-type": "Object Created"}',
        s3_event("\ud800"),
        s3_event("\x00"),
        s3_event("%FF%FE%00"),
    ],
)
def test_odd_bodies_yield_records_or_undecodable_error(decode: Callable[[str], object], body: str) -> None:
    assert_yields_records_or_undecodable_error(decode, body)


def assert_yields_records_or_undecodable_error(decode: Callable[[str], object], body: str) -> None:
    try:
        records = decode(body)
    except UndecodableError:
        return
    assert isinstance(records, Sequence)
    for record in records:
        assert isinstance(record.owner, str)
        assert isinstance(record.body, str)


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
def test_an_undecodable_record_does_not_affect_the_others(bad: Any) -> None:
    good, strange, other = decode_upload(json.dumps({"Records": [_record("a"), bad, _record("b")]}))
    assert isinstance(good, ObjectCreated)
    assert isinstance(strange, UndecodableRecord)
    assert isinstance(other, ObjectCreated)
    assert (good.stored.version.key, other.stored.version.key) == ("a", "b")
    assert json.loads(strange.body) == {"Records": [bad]}
    with pytest.raises(UndecodableError):
        decode_upload(strange.body)


def test_too_many_records_are_refused() -> None:
    with pytest.raises(UndecodableError, match="1001 records"):
        decode_upload(json.dumps({"Records": [{}] * 1001}))


def test_three_envelopes_are_opened_and_a_fourth_is_refused() -> None:
    body = s3_event("k")
    for _ in range(3):
        body = json.dumps({"Type": "Notification", "Message": body})
    assert only_key(body) == "k"
    with pytest.raises(UndecodableError, match="more than 3 envelopes"):
        decode_upload(json.dumps({"Type": "Notification", "Message": body}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
names = st.sampled_from(
    [
        "Type",
        "Message",
        "Records",
        "Event",
        "type",
        "source",
        "detail",
        "detail-type",
        "eventName",
        "eventVersion",
        "s3",
        "bucket",
        "object",
        "name",
        "key",
        "size",
        "eTag",
        "versionId",
        "asset_id",
        "version",
        "version_id",
        "recording_id",
        "host_id",
        "jobId",
        "status",
    ]
)
known_values = st.sampled_from(
    [
        "Notification",
        "scan.requested",
        "image.requested",
        "transcode.requested",
        "webinar.recording",
        "aws.s3",
        "aws.mediaconvert",
        "Object Created",
        "ObjectCreated:Put",
        "s3:TestEvent",
        "2.1",
        1,
    ]
)
shaped = st.recursive(
    json_values | known_values,
    lambda inner: st.dictionaries(names, inner, max_size=6) | st.lists(inner, max_size=3) | inner.map(json.dumps),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(body=st.text() | st.dictionaries(names, shaped, max_size=6).map(json.dumps))
def test_any_text_yields_records_or_undecodable_error(body: str) -> None:
    for decode in DECODERS:
        assert_yields_records_or_undecodable_error(decode, body)


@given(key=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=100))
def test_any_key_is_decoded_to_itself(key: str) -> None:
    assert only_key(s3_event(quote_plus(key))) == key
    assert only_key(eventbridge(key)) == key


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
@pytest.mark.parametrize("decode", DECODERS)
def test_confirmation_of_sns_is_acknowledged_and_told(decode: Callable[[str], Sequence[object]], kind: str) -> None:
    body = {"Type": kind, "TopicArn": "arn:aws:sns:::t", "Token": "secret", "SubscribeURL": "https://sns/?Token=secret"}
    with capture_logs() as lines:
        assert list(decode(json.dumps(body))) == []
    assert [line["event"] for line in lines] == ["sns.unconfirmed"]
    assert "secret" not in str(lines)
