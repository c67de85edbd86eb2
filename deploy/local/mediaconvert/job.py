"""A job: its request, its progress and its result."""

import secrets
import string
import time
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from deploy.local.mediaconvert.config import Config


class Status(StrEnum):
    SUBMITTED = "SUBMITTED"
    PROGRESSING = "PROGRESSING"
    COMPLETE = "COMPLETE"
    CANCELED = "CANCELED"
    ERROR = "ERROR"


class Phase(StrEnum):
    PROBING = "PROBING"
    TRANSCODING = "TRANSCODING"
    UPLOADING = "UPLOADING"


UNFINISHED = (Status.SUBMITTED, Status.PROGRESSING)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class OutputDetail(_Frozen):
    """One finished output: addresses `s3://…`, milliseconds, pixels, bits per second."""

    paths: tuple[str, ...]
    duration_ms: int
    width: int | None = None
    height: int | None = None
    average_bitrate: int | None = None


class GroupDetail(_Frozen):
    """One finished output group."""

    kind: str
    playlists: tuple[str, ...]
    outputs: tuple[OutputDetail, ...]


class Job(_Frozen):
    """A job. Times are Unix seconds. `settings` is the document as it came, with boto's names, which GetJob returns."""

    job_id: str
    token: str | None
    fingerprint: str
    """Hash of the request. It tells a repeated token from a reused one."""
    role: str
    settings: dict[str, Any]
    user_metadata: dict[str, str]
    input_file: str
    created_at: float
    status_update_interval: str = "SECONDS_60"
    """Returned, but without effect; see `runner.UPDATE_INTERVAL`."""
    status: Status = Status.SUBMITTED
    started_at: float | None = None
    finished_at: float | None = None
    phase: Phase | None = None
    percent: int | None = None
    retries: int = 0
    error_code: int | None = None
    error_message: str | None = None
    warnings: tuple[str, ...] = ()
    groups: tuple[GroupDetail, ...] = Field(default_factory=tuple)

    def but(self, **changes: Any) -> "Job":
        """Return a validated copy with `changes`."""
        return Job.model_validate({**dict(self), **changes})


def new_job_id() -> str:
    """Make an id like the service's: milliseconds, a dash, six letters or digits."""
    alphabet = string.ascii_lowercase + string.digits
    return f"{time.time_ns() // 1_000_000}-{''.join(secrets.choice(alphabet) for _ in range(6))}"


def job_view(job: Job, config: Config) -> dict[str, Any]:
    """Return the API's `Job`, with boto's names; `to_wire` leaves out members that are None."""
    return {
        "Arn": config.job_arn(job.job_id),
        "Id": job.job_id,
        "Queue": config.queue_arn,
        "Role": job.role,
        "ClientRequestToken": job.token,
        "CreatedAt": round(job.created_at),
        "Status": job.status.value,
        "CurrentPhase": job.phase and job.phase.value,
        "JobPercentComplete": job.percent,
        "RetryCount": job.retries,
        "ErrorCode": job.error_code,
        "ErrorMessage": job.error_message,
        "Settings": job.settings,
        "UserMetadata": job.user_metadata,
        "AccelerationStatus": "NOT_APPLICABLE",
        "BillingTagsSource": "JOB",
        "StatusUpdateInterval": job.status_update_interval,
        "Messages": {"Info": [], "Warning": list(job.warnings)},
        "Timing": {
            "SubmitTime": round(job.created_at),
            "StartTime": job.started_at and round(job.started_at),
            "FinishTime": job.finished_at and round(job.finished_at),
        },
        "OutputGroupDetails": [
            {
                "OutputDetails": [
                    {
                        "DurationInMs": output.duration_ms,
                        "VideoDetails": {"WidthInPx": output.width, "HeightInPx": output.height}
                        if output.width
                        else None,
                    }
                    for output in group.outputs
                ]
            }
            for group in job.groups
        ],
    }
