"""Messages with values that cannot be stored are refused, and the published schema refuses them too."""

import json
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest
from pydantic import ValidationError

from consumer.decoders import decode_image, decode_recording
from media.contracts import TranscodeProgress, WebinarRecording
from media.errors import UndecodableError

RECORDING = {
    "type": "webinar.recording",
    "recording_id": "r",
    "webinar_id": "w",
    "host_id": "h",
    "bucket": "b",
    "key": "k",
}
SCHEMA = jsonschema_rs.validator_for(WebinarRecording.model_json_schema())
NUL = ["recording_id", "webinar_id", "host_id", "bucket", "key", "version_id", "title", "content_type"]
BAD: list[tuple[str, Any]] = [
    *((name, "a\0b") for name in NUL),
    *((name, "a\x1fb") for name in ("recording_id", "webinar_id", "bucket", "version_id", "content_type")),
    ("recorded_at", "0001-01-01T00:00:00+14:00"),
    ("recorded_at", "9999-12-31T23:59:59-12:00"),
    ("recorded_at", "1969-12-31T23:59:59Z"),
    ("recorded_at", "2200-01-01T00:00:00Z"),
    ("title", "t" * 501),
    ("version_id", "v" * 1025),
]
GOOD: list[tuple[str, Any]] = [
    ("title", "Sepsis\nin ten minutes \N{HOSPITAL}"),
    ("title", ""),
    ("key", "2026/Vorträge/a b.mp4"),
    ("recorded_at", "2026-11-22T09:00:00+05:30"),
    ("recorded_at", None),
    ("content_type", "video/mp4; codecs=avc1"),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name}-{number}" for number, (name, _) in enumerate(BAD)])
def test_recording_with_an_unstorable_value_is_refused(name: str, value: Any) -> None:
    content = {**RECORDING, name: value}
    with pytest.raises(UndecodableError, match=f"WebinarRecording: {name}"):
        decode_recording(json.dumps(content))
    assert not SCHEMA.is_valid(content)


@pytest.mark.parametrize("name", NUL)
def test_lone_surrogate_is_refused(name: str) -> None:
    with pytest.raises(UndecodableError, match=f"WebinarRecording: {name}"):
        decode_recording(json.dumps({**RECORDING, name: "a\ud800b"}))


MAPPINGS: list[tuple[Any, bool]] = [
    ({"course": "cardiology", "a.b-c_D9": "Vorträge\n"}, True),
    ({}, True),
    (None, True),
    ({f"key-{number}": "" for number in range(50)}, True),
    ({f"key-{number}": "" for number in range(51)}, False),
    ({"a b": "x"}, False),
    ({"": "x"}, False),
    ({"k" * 41: "x"}, False),
    ({"a": 1}, False),
    ({"a": None}, False),
    ({"a": "x\0"}, False),
    ("text", False),
]


@pytest.mark.parametrize(("metadata", "is_taken"), MAPPINGS, ids=range(len(MAPPINGS)))
def test_metadata_are_a_few_short_texts_by_plain_keys(metadata: Any, is_taken: bool) -> None:
    content = {**RECORDING, "version": 2, "external_id": "lesson 7", "metadata": metadata}
    assert SCHEMA.is_valid(content) is is_taken
    if not is_taken:
        with pytest.raises(UndecodableError, match="WebinarRecording: metadata"):
            decode_recording(json.dumps(content))
        return
    (part,) = decode_recording(json.dumps(content))
    assert (part.recording.external_id, part.recording.metadata) == ("lesson 7", metadata)


def test_metadata_have_at_most_4096_bytes_as_json() -> None:
    for letter, count, is_taken in (("x", 4088, True), ("x", 4089, False), ("ä", 2044, True), ("ä", 2045, False)):
        content = json.dumps({**RECORDING, "version": 2, "metadata": {"a": letter * count}})
        if is_taken:
            assert decode_recording(content)
        else:
            with pytest.raises(UndecodableError, match="4096 bytes"):
                decode_recording(content)


def test_version_1_goes_on_without_what_version_2_brought() -> None:
    (part,) = decode_recording(json.dumps({**RECORDING, "version": 1, "external_id": 7, "metadata": [], "captions": 0}))
    assert (part.recording.external_id, part.recording.metadata) == (None, None)
    (part,) = decode_recording(json.dumps({**RECORDING, "external_id": "x"}))
    assert part.recording.external_id is None


def test_recording_is_not_taken_without_its_captions() -> None:
    content = {**RECORDING, "version": 2, "captions": [{"language": "en", "bucket": "b", "key": "k"}]}
    with pytest.raises(UndecodableError, match="captions are not taken yet"):
        decode_recording(json.dumps(content))
    assert decode_recording(json.dumps({**content, "captions": []}))
    with pytest.raises(UndecodableError, match="version"):
        decode_recording(json.dumps({**RECORDING, "version": 3}))


@pytest.mark.parametrize("value", ["", " ", "\u2800", "x" * 201, "a\nb", "a\u200bb", "a\0"])
def test_external_id_is_printable(value: str) -> None:
    with pytest.raises(UndecodableError, match="WebinarRecording: external_id"):
        decode_recording(json.dumps({**RECORDING, "version": 2, "external_id": value}))


@pytest.mark.parametrize(("name", "value"), GOOD, ids=[f"{name}-{number}" for number, (name, _) in enumerate(GOOD)])
def test_other_values_of_a_recording_are_accepted(name: str, value: Any) -> None:
    content = {**RECORDING, name: value}
    (part,) = decode_recording(json.dumps(content))
    assert part.recording.model_dump(mode="json")[name] == value
    assert SCHEMA.is_valid(content)


def test_a_time_without_a_zone_is_utc() -> None:
    (part,) = decode_recording(json.dumps({**RECORDING, "recorded_at": "2026-11-22T09:00:00"}))
    assert part.recording.recorded_at is not None
    assert part.recording.recorded_at.isoformat() == "2026-11-22T09:00:00+00:00"


@pytest.mark.parametrize("name", ["bucket", "key", "version_id", "trace_id"])
@pytest.mark.parametrize("value", ["a\0b", "a\ud800b"], ids=["nul", "half"])
def test_stage_request_with_an_impossible_name_is_refused(name: str, value: str) -> None:
    content = {"type": "image.requested", "asset_id": str(UUID(int=1)), "bucket": "b", "key": "k", name: value}
    with pytest.raises(UndecodableError, match=f"ImageRequested: {name}"):
        decode_image(json.dumps(content))


@pytest.mark.parametrize("name", ["job_id", "phase", "error_message"])
@pytest.mark.parametrize("value", ["a\0b", "a\ud800b"], ids=["nul", "half"])
def test_callback_with_an_unstorable_value_is_refused(name: str, value: str) -> None:
    content = {"job_id": "1-a", "asset_id": UUID(int=1), "attempt": 1, "status": "ERROR", name: value}
    with pytest.raises(ValidationError, match=name):
        TranscodeProgress.model_validate(content)
