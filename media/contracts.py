"""The messages that cross the queues, as pydantic models. Unknown fields are tolerated; known ones are checked."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
OwnerId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Key = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Message(BaseModel):
    """What all our messages share."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StageRequested(Message):
    """Asks for one stage of one asset, on exactly one version of its object."""

    version: Literal[1] = 1
    asset_id: UUID
    bucket: Name
    key: Key
    version_id: str = ""
    trace_id: str = ""


class ScanRequested(StageRequested):
    type: Literal["scan.requested"] = "scan.requested"


class ImageRequested(StageRequested):
    type: Literal["image.requested"] = "image.requested"


class TranscodeRequested(StageRequested):
    type: Literal["transcode.requested"] = "transcode.requested"


class WebinarRecording(Message):
    """What the webinar service (MS-6) sends when a recording lies in its bucket.

    `recording_id` makes it idempotent; `host_id` becomes the owner.
    """

    type: Literal["webinar.recording"] = "webinar.recording"
    version: Literal[1] = 1
    recording_id: Name
    webinar_id: Name
    host_id: OwnerId
    bucket: Name
    key: Key
    version_id: str | None = None
    title: Annotated[str, StringConstraints(max_length=500)] | None = None
    recorded_at: datetime | None = None
    content_type: Annotated[str, Field(max_length=100)] | None = None


class TranscodeProgress(Message):
    """What the transcoder's events say about one job, whatever their envelope."""

    job_id: str
    asset_id: UUID
    attempt: int
    status: Literal[
        "PROGRESSING", "INPUT_INFORMATION", "STATUS_UPDATE", "NEW_WARNING", "QUEUE_HOP", "COMPLETE", "ERROR", "CANCELED"
    ]
    percent: int | None = None
    phase: str | None = None
    error_code: int | None = None
    error_message: str | None = None
