"""Decodes the bodies of messages: bare S3, SNS (enveloped or raw), EventBridge, EventBridge in SNS, and our own.

Every key is decoded exactly once: S3 notifications carry form-encoded keys, EventBridge carries plain ones.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any
from urllib.parse import unquote_plus

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.queue.in_flight import UndecodableRecord
from media.asset import ObjectVersion
from media.asset_store.assets import StoredObject
from media.contracts import ImageRequested, ScanRequested, StageRequested, TranscodeRequested, WebinarRecording
from media.errors import UndecodableError

log = structlog.get_logger(__name__)

DEPTH = 3
"""Nested envelopes, at most. EventBridge in SNS is two."""
MOST_RECORDS = 1000
"""Records in one message. S3 sends one; as many as SQS's largest message can hold would block the event loop."""
SNS_CONFIRMATIONS = frozenset({"SubscriptionConfirmation", "UnsubscribeConfirmation"})
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
    """S3's own notification of one upload, without an envelope. Nearly every message is one."""

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
    """S3's notification of a new object version. `body` is this record as a message of its own."""

    stored: StoredObject
    body: str
    trace_id: str = ""

    @property
    def owner(self) -> str:
        """The tenant, the third segment of the key."""
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
    """A recording that the webinar service announces."""

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


class _ConfirmationError(Exception):
    """SNS asks whether this queue wants a topic's messages."""


def _without_confirmations[T](decode: Callable[[str], Sequence[T]]) -> Callable[[str], Sequence[T]]:
    """Let a decoder ignore SNS's confirmations: they are nobody's work, and a dead letter would page."""

    @wraps(decode)
    def decoded(body: str) -> Sequence[T]:
        try:
            return decode(body)
        except _ConfirmationError as error:
            # Not confirmed here: whoever can send to the queue could make it listen to a topic of theirs.
            todo = "aws sns subscribe with this queue, or remove the subscription"
            log.warning("sns.unconfirmed", topic=str(error)[:256], todo=todo)
            return []

    return decoded


@_without_confirmations
def decode_upload(body: str) -> Sequence[ObjectCreated | StageMessage | UndecodableRecord]:
    """Decode S3's notifications, in any envelope, and `scan.requested`. Other events yield no record."""
    try:  # parsed and checked in one go, which is five times as fast as the general way below
        (lone,) = _LoneUpload.model_validate_json(body).records
    except ValidationError:
        pass
    else:
        return [ObjectCreated(_stored_of(lone), body)]
    content = _unwrapped(body)
    if content.get("type") == "scan.requested":
        return [StageMessage(request=_checked(ScanRequested, content), body=body)]
    if "Records" in content:
        return _records(content["Records"])
    if content.get("Event") == "s3:TestEvent":
        return []
    if "detail-type" in content:
        if content.get("source") != "aws.s3" or content["detail-type"] != "Object Created":
            return []
        detail = _checked(_Detail, content.get("detail"))
        return [ObjectCreated(_stored(detail.bucket.name, detail.object.key, detail.object), body)]
    raise UndecodableError("neither an S3 notification nor scan.requested")


@_without_confirmations
def decode_image(body: str) -> Sequence[StageMessage]:
    """Decode `image.requested`."""
    return [StageMessage(request=_checked(ImageRequested, _unwrapped(body)), body=body)]


@_without_confirmations
def decode_transcode(body: str) -> Sequence[StageMessage]:
    """Decode `transcode.requested`."""
    return [StageMessage(request=_checked(TranscodeRequested, _unwrapped(body)), body=body)]


@_without_confirmations
def decode_recording(body: str) -> Sequence[RecordingMessage]:
    """Decode `webinar.recording`."""
    return [RecordingMessage(recording=_checked(WebinarRecording, _unwrapped(body)), body=body)]


@_without_confirmations
def decode_transcode_event(body: str) -> Sequence[TranscodeEventMessage]:
    """Decode MediaConvert's events of jobs. Other events yield no record."""
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


def _records(records: Any) -> Sequence[ObjectCreated | UndecodableRecord]:
    """Decode each record on its own, so that one that cannot be decoded takes no other with it."""
    if not isinstance(records, list):
        raise UndecodableError("Records is not a list")
    if len(records) > MOST_RECORDS:
        raise UndecodableError(f"{len(records)} records, at most {MOST_RECORDS} are taken")
    decoded: list[ObjectCreated | UndecodableRecord] = []
    for record in records:
        name = record.get("eventName") if isinstance(record, dict) else None
        if isinstance(name, str) and not name.removeprefix("s3:").startswith("ObjectCreated:"):
            continue
        body = json.dumps({"Records": [record]})
        try:
            decoded.append(ObjectCreated(_stored_of(_checked(_Record, record)), body))
        except UndecodableError as error:
            if len(records) == 1:
                raise  # the message as a whole cannot be decoded
            decoded.append(UndecodableRecord(error, body))
    return decoded


def _stored_of(record: _Record) -> StoredObject:
    return _stored(record.s3.bucket.name, unquote_plus(record.s3.object.key), record.s3.object)


def _stored(bucket: str, key: str, found: _Object | _DetailObject) -> StoredObject:
    """Describe an object. Raises UndecodableError for a NUL or a lone surrogate, which Postgres and S3 refuse."""
    version = "" if found.version_id in {None, "null"} else str(found.version_id)
    etag = found.etag.strip('"') if found.etag else None
    try:
        encoded = f"{bucket}{key}{version}{etag}{found.sequencer}".encode()
    except UnicodeEncodeError as error:
        raise UndecodableError(f"not text: {error.reason}") from error
    if b"\0" in encoded:
        raise UndecodableError("a NUL in a name")
    return StoredObject(ObjectVersion(bucket, key, version), etag, found.size, found.sequencer)


def _unwrapped(body: str) -> dict[str, Any]:
    """Parse a body and take off SNS's envelopes."""
    content = _parsed(body)
    for _ in range(DEPTH + 1):
        if str(content.get("Type")) in SNS_CONFIRMATIONS and "SubscribeURL" in content:
            raise _ConfirmationError(str(content.get("TopicArn")))
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
