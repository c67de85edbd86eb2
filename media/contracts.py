"""Messages of the queues, as pydantic models. Unknown fields are ignored, known ones are checked."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

YEARS = range(1970, 2200)
"""Years of a time in a message. Others are a mistake, and near the calendar's ends a time zone overflows."""


def _storable(value: datetime) -> datetime:
    """Require a year within YEARS, and take a time without a zone as UTC."""
    if value.year not in YEARS:
        raise ValueError(f"a year between {YEARS.start} and {YEARS.stop - 1}")
    return value if value.tzinfo else value.replace(tzinfo=UTC)


# Neither Postgres nor S3 takes a NUL. With a pattern, pydantic also refuses half of a surrogate pair.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Text without control characters."""
Name = Annotated[Line, StringConstraints(min_length=1, max_length=200)]
Time = Annotated[datetime, AfterValidator(_storable), Field(json_schema_extra={"pattern": r"^(19[7-9]\d|2[01]\d\d)-"})]
OwnerId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Key = Annotated[Text, StringConstraints(min_length=1, max_length=1024)]
VersionId = Annotated[Line, StringConstraints(max_length=1024)]


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StageRequested(Message):
    """Request for one stage of one asset, on exactly one version of its object."""

    version: Literal[1] = 1
    asset_id: UUID
    bucket: Name
    key: Key
    version_id: VersionId = ""
    trace_id: Text = ""


class ScanRequested(StageRequested):
    type: Literal["scan.requested"] = "scan.requested"


class ImageRequested(StageRequested):
    type: Literal["image.requested"] = "image.requested"


class TranscodeRequested(StageRequested):
    type: Literal["transcode.requested"] = "transcode.requested"


class WebinarRecording(Message):
    """Message of the webinar service (MS-6) when a recording lies in its bucket.

    `recording_id` makes it idempotent. `host_id` becomes the owner.
    """

    type: Literal["webinar.recording"] = "webinar.recording"
    version: Literal[1] = 1
    recording_id: Name
    webinar_id: Name
    host_id: OwnerId
    bucket: Name
    key: Key
    version_id: VersionId | None = None
    title: Annotated[Text, StringConstraints(max_length=500)] | None = None
    recorded_at: Time | None = None
    content_type: Annotated[Line, StringConstraints(max_length=100)] | None = None


class TranscodeProgress(Message):
    """An event of the transcoder about one job, without its envelope."""

    job_id: Name
    asset_id: UUID
    attempt: int
    status: Literal[
        "PROGRESSING", "INPUT_INFORMATION", "STATUS_UPDATE", "NEW_WARNING", "QUEUE_HOP", "COMPLETE", "ERROR", "CANCELED"
    ]
    percent: int | None = None
    phase: Text | None = None
    error_code: int | None = None
    error_message: Text | None = None
