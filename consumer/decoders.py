"""What comes out of a queue, unwrapped: bare S3, SNS (enveloped or raw), EventBridge, EventBridge in SNS, our own.

Every key is decoded exactly once: S3 notifications carry form-encoded keys, EventBridge carries them as they are.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote_plus

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.queue.in_flight import UndecodableRecord
from media.asset import ObjectVersion
from media.asset_store.assets import StoredObject
from media.contracts import ImageRequested, ScanRequested, StageRequested, TranscodeRequested, WebinarRecording
from media.errors import UndecodableError

DEPTH = 3
"""Envelopes within each other, at most: EventBridge in SNS is two."""
MOST_RECORDS = 1000
"""In one message. S3 sends one; as many as SQS's largest message can hold would hold up the event loop."""
type _Size = Annotated[int | None, Field(ge=0, lt=2**63)]


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Object(_Lenient):
    key: Annotated[str, Field(min_length=1)]
    size: _Size = None
    etag: Annotated[str | None, Field(alias="eTag")] = None
    version_id: Annotated[str | None, Field(alias="versionId")] = None
    sequencer: str | None = None


class _Bucket(_Lenient):
    name: Annotated[str, Field(min_length=1)]


class _S3(_Lenient):
    bucket: _Bucket
    object: _Object


class _Record(_Lenient):
    event_version: Annotated[str, Field(alias="eventVersion", pattern=r"^2(\.|$)")]
    event_name: Annotated[str, Field(alias="eventName")]
    s3: _S3


class _CreatedRecord(_Record):
    event_name: Annotated[str, Field(alias="eventName", pattern=r"^(s3:)?ObjectCreated:")]


class _LoneUpload(_Lenient):
    """What nearly every message is: S3's own notification of one upload, in no envelope."""

    records: Annotated[tuple[_CreatedRecord], Field(alias="Records")]
    ours: Annotated[None, Field(alias="type")] = None
    envelope: Annotated[None, Field(alias="Type")] = None


class _DetailObject(_Lenient):
    key: Annotated[str, Field(min_length=1)]
    size: _Size = None
    etag: str | None = None
    version_id: Annotated[str | None, Field(alias="version-id")] = None
    sequencer: str | None = None


class _Detail(_Lenient):
    bucket: _Bucket
    object: _DetailObject


@dataclass(frozen=True, slots=True)
class ObjectCreated:
    """S3 says that an object version is there. `body` is this record as a message of its own."""

    stored: StoredObject
    body: str
    trace_id: str = ""

    @property
    def owner(self) -> str:
        """The tenant, by the key's third part."""
        return _owner(self.stored.version.key)


class StageMessage(BaseModel):
    """One of our own requests for a stage."""

    model_config = ConfigDict(frozen=True)

    request: StageRequested
    body: str

    @property
    def owner(self) -> str:
        return _owner(self.request.key)

    @property
    def trace_id(self) -> str:
        return self.request.trace_id


class RecordingMessage(BaseModel):
    """What the webinar service announces."""

    model_config = ConfigDict(frozen=True)

    recording: WebinarRecording
    body: str

    @property
    def owner(self) -> str:
        return self.recording.host_id


class TranscodeEventMessage(BaseModel):
    """The detail of one of MediaConvert's events."""

    model_config = ConfigDict(frozen=True)

    detail: Mapping[str, Any]
    body: str

    @property
    def owner(self) -> str:
        return ""


def decode_upload(body: str) -> Sequence[ObjectCreated | StageMessage | UndecodableRecord]:
    """The uploads queue: S3's notifications in any wrapping, and `scan.requested`. Other events yield nothing."""
    if lone := _lone_upload(body):
        return [lone]
    content = _unwrapped(body)
    if content.get("type") == "scan.requested":
        return [StageMessage(request=_checked(ScanRequested, content), body=body)]
    if "Records" in content:
        return _of_records(content["Records"])
    if content.get("Event") == "s3:TestEvent":
        return []
    if "detail-type" in content:
        return _of_eventbridge(content, body)
    raise UndecodableError("neither an S3 notification nor scan.requested")


def decode_image(body: str) -> Sequence[StageMessage]:
    """The images queue."""
    return [StageMessage(request=_checked(ImageRequested, _unwrapped(body)), body=body)]


def decode_transcode(body: str) -> Sequence[StageMessage]:
    """The transcodes queue."""
    return [StageMessage(request=_checked(TranscodeRequested, _unwrapped(body)), body=body)]


def decode_recording(body: str) -> Sequence[RecordingMessage]:
    """The recordings queue."""
    return [RecordingMessage(recording=_checked(WebinarRecording, _unwrapped(body)), body=body)]


def decode_transcode_event(body: str) -> Sequence[TranscodeEventMessage]:
    """The transcode-events queue: MediaConvert's job state changes; other events yield nothing."""
    content = _unwrapped(body)
    if content.get("source") != "aws.mediaconvert":
        if "detail-type" in content:
            return []
        raise UndecodableError("not an event of aws.mediaconvert")
    detail = content.get("detail")
    if not isinstance(detail, dict):
        raise UndecodableError("the event has no detail")
    return [TranscodeEventMessage(detail=detail, body=body)]


def _owner(key: str) -> str:
    """Read the tenant out of a key of the form `uploads/TYPE/OWNER/…`; "" where there is none."""
    match key.split("/"):
        case [_, _, owner, _, *_]:
            return owner
    return ""


def _lone_upload(body: str) -> ObjectCreated | None:
    """Parsed and checked in one go, five times as fast as the general way; whatever does not fit takes that one."""
    try:
        (record,) = _LoneUpload.model_validate_json(body).records
    except ValidationError:
        return None
    return ObjectCreated(_stored_of(record), body)


def _of_records(records: Any) -> Sequence[ObjectCreated | UndecodableRecord]:
    """Each record has an outcome of its own: one that makes no sense takes none of the others with it."""
    if not isinstance(records, list):
        raise UndecodableError("Records is not a list")
    if len(records) > MOST_RECORDS:
        raise UndecodableError(f"{len(records)} records, at most {MOST_RECORDS} are taken")
    if len(records) == 1:
        return [created] if (created := _of_record(records[0])) else []
    return [found for record in records if (found := _tried(record))]


def _tried(record: Any) -> ObjectCreated | UndecodableRecord | None:
    try:
        return _of_record(record)
    except UndecodableError as error:
        return UndecodableRecord(error, json.dumps({"Records": [record]}))


def _of_record(record: Any) -> ObjectCreated | None:
    name = record.get("eventName") if isinstance(record, dict) else None
    if isinstance(name, str) and not name.removeprefix("s3:").startswith("ObjectCreated:"):
        return None
    found = _checked(_Record, record)
    return ObjectCreated(_stored_of(found), json.dumps({"Records": [record]}))


def _stored_of(record: _Record) -> StoredObject:
    return _stored(record.s3.bucket.name, unquote_plus(record.s3.object.key), record.s3.object)


def _of_eventbridge(content: Mapping[str, Any], body: str) -> Sequence[ObjectCreated]:
    if content.get("source") != "aws.s3" or content["detail-type"] != "Object Created":
        return []
    detail = _checked(_Detail, content.get("detail"))
    return [ObjectCreated(_stored(detail.bucket.name, detail.object.key, detail.object), body)]


def _stored(bucket: str, key: str, found: _Object | _DetailObject) -> StoredObject:
    version = "" if found.version_id in {None, "null"} else str(found.version_id)
    etag = found.etag.strip('"') if found.etag else None
    for text in (bucket, key, version, etag or "", found.sequencer or ""):
        _require_storable(text)
    return StoredObject(ObjectVersion(bucket, key, version), etag, found.size, found.sequencer)


def _require_storable(text: str) -> None:
    """Neither Postgres nor S3 takes a NUL or half of a surrogate pair."""
    try:
        if b"\0" not in text.encode():
            return
    except UnicodeEncodeError as error:
        raise UndecodableError(f"not text: {error.reason}") from error
    raise UndecodableError("a NUL in a name")


def _unwrapped(body: str) -> dict[str, Any]:
    content = _parsed(body)
    for _ in range(DEPTH + 1):
        if content.get("Type") != "Notification" or "Message" not in content:
            return content
        content = _parsed(content["Message"])
    raise UndecodableError(f"more than {DEPTH} envelopes within each other")


def _parsed(text: Any) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise UndecodableError(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UndecodableError("not a JSON object")
    return content


def _checked[M: BaseModel](model: type[M], content: Any) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise UndecodableError(f"{model.__name__}: {problems}") from error
