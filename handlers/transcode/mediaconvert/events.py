"""Reads MediaConvert's job events leniently: fields change with its versions, so only job and status are required."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog

from handlers.transcode.planning.reported_output import OutputDetail, OutputGroupDetail
from media.errors import Code, FailedError, MediaError, RejectedError, RetryableError, UndecodableError

log = structlog.get_logger(__name__)

MESSAGE_LIMIT = 500
"""Characters kept of the service's error message and of a warning."""
_COUNTED = " x "
"""Separator of a warning's code and its count."""
OPERATOR_DELAY = 300.0
"""Seconds before the retry of a job that lacked a permission or a role, which people must grant."""


class JobStatus(StrEnum):
    PROGRESSING = "PROGRESSING"
    INPUT_INFORMATION = "INPUT_INFORMATION"
    STATUS_UPDATE = "STATUS_UPDATE"
    NEW_WARNING = "NEW_WARNING"
    QUEUE_HOP = "QUEUE_HOP"
    COMPLETE = "COMPLETE"
    ERROR = "ERROR"
    CANCELED = "CANCELED"
    UNKNOWN = "UNKNOWN"
    """A status that MediaConvert introduced later. It is ignored, and is no reason for a dead letter."""

    @classmethod
    def _missing_(cls, value: object) -> "JobStatus":
        del value
        return cls.UNKNOWN


FINAL = frozenset({JobStatus.COMPLETE, JobStatus.ERROR, JobStatus.CANCELED})


@dataclass(frozen=True, slots=True)
class TranscodeEvent:
    """One event of one job. `asset_id` and `attempt` are None for jobs that are not ours."""

    job_id: str
    status: JobStatus
    asset_id: UUID | None = None
    attempt: int | None = None
    timestamp_ms: int | None = None
    percent: int | None = None
    phase: str | None = None
    error_code: int | None = None
    error_message: str | None = None
    warnings: tuple[str, ...] = ()
    groups: tuple[OutputGroupDetail, ...] = ()

    @property
    def final(self) -> bool:
        return self.status in FINAL

    def outputs(self, kind: str) -> tuple[OutputDetail, ...]:
        """Return all outputs in groups of type `kind`."""
        return tuple(output for group in self.groups if group.type == kind for output in group.outputs)


def parse_event(detail: Mapping[str, Any]) -> TranscodeEvent:
    """Read the event in the `detail` of an EventBridge envelope.

    Raises UndecodableError when it names no job or no status. Other fields that are missing or malformed become None or
    empty. An unknown status becomes UNKNOWN.
    """
    job_id = _text(detail.get("jobId"))
    status_text = _text(detail.get("status"))
    if not job_id or not status_text:
        raise UndecodableError(f"the event names no {'status' if job_id else 'job'}")
    status = JobStatus(status_text)
    if status is JobStatus.UNKNOWN:
        log.warning("transcode.unknown_status", job_id=job_id, status=status_text[:50])
    metadata, progress = _mapping(detail.get("userMetadata")), _mapping(detail.get("jobProgress"))
    percent = _number(progress.get("jobPercentComplete"))
    return TranscodeEvent(
        job_id=job_id,
        status=status,
        asset_id=_uuid(metadata.get("asset_id")),
        attempt=_number(metadata.get("attempt")),
        timestamp_ms=_number(detail.get("timestamp")),
        percent=None if percent is None else min(max(percent, 0), 100),
        phase=_text(progress.get("currentPhase")),
        error_code=_number(detail.get("errorCode")),
        error_message=_text(detail.get("errorMessage")),
        warnings=tuple(
            _text(f"{warning.get('code', 'unknown')}{_COUNTED}{warning.get('count', 1)}") or "unknown"
            for warning in map(_mapping, _list(detail.get("warnings")))
        ),
        groups=tuple(_group(_mapping(item)) for item in _list(detail.get("outputGroupDetails"))),
    )


class JobFault(StrEnum):
    """The side at fault for a job's error."""

    INPUT = "input"
    OPERATOR = "operator"
    SERVICE = "service"


INPUT_FAULTS: dict[int, Code] = {
    1010: Code.CORRUPT,  # cannot open the input, though it is there and was probed
    1020: Code.UNSUPPORTED_CODEC,  # finds no picture, though the probe did
    1030: Code.UNSUPPORTED_CODEC,  # codec or container not supported
    1040: Code.UNSUPPORTED,  # settings that do not fit the input; the settings are right for all others
    1075: Code.CORRUPT,  # the demuxer cannot parse it
    1076: Code.CORRUPT,  # the input ends unexpectedly
}
OPERATOR_FAULTS = frozenset({1401, 1404, *range(1430, 1440)})
"""Error codes for denied access to S3, a missing bucket or file, and problems with the role."""


def fault_of(error_code: int | None) -> JobFault:
    """Classify a code by AWS's table. Codes that are not the fault of input or operator are worth another attempt."""
    if error_code in INPUT_FAULTS:
        return JobFault.INPUT
    return JobFault.OPERATOR if error_code in OPERATOR_FAULTS else JobFault.SERVICE


def error_of(event: TranscodeEvent) -> MediaError:
    """Return the error for an ERROR or CANCELED event: RejectedError, RetryableError, or FailedError when canceled.

    Raises ValueError for an event of another status.
    """
    if event.status is JobStatus.CANCELED:
        return FailedError(Code.JOB_CANCELED, "the job was canceled")
    if event.status is not JobStatus.ERROR:
        raise ValueError(f"{event.status} is no failure")
    detail = f"MediaConvert {event.error_code or 'without a code'}: {event.error_message or 'no message'}"
    match fault_of(event.error_code):
        case JobFault.INPUT:
            return RejectedError(INPUT_FAULTS.get(event.error_code or 0, Code.CORRUPT), detail)
        case JobFault.OPERATOR:
            return RetryableError(Code.TRANSCODER_ERROR, detail, retry_after=OPERATOR_DELAY)
        case JobFault.SERVICE:
            return RetryableError(Code.TRANSCODER_ERROR, detail)


def _group(group: Mapping[str, Any]) -> OutputGroupDetail:
    details = [_mapping(item) for item in _list(group.get("outputDetails"))]
    return OutputGroupDetail(
        type=_text(group.get("type")) or "",
        outputs=tuple(
            OutputDetail(
                path=path,
                duration_ms=_number(detail.get("durationInMs")),
                width=_number(video.get("widthInPx")),
                height=_number(video.get("heightInPx")),
                average_bitrate=_number(video.get("averageBitrate")),
            )
            for detail in details
            for video in [_mapping(detail.get("videoDetails"))]
            for path in _paths(detail.get("outputFilePaths"))
        ),
        playlists=_paths(group.get("playlistFilePaths")),
    )


def kind_of(warning: str) -> str:
    """Return MediaConvert's code in a warning of an event."""
    return warning.partition(_COUNTED)[0]


def _paths(value: object) -> tuple[str, ...]:
    return tuple(path for path in _list(value) if isinstance(path, str))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _text(value: object) -> str | None:
    """Return text that Postgres accepts: no NUL, no lone surrogate, `MESSAGE_LIMIT` characters at most; else None."""
    plain = value[:MESSAGE_LIMIT].replace("\0", "").encode(errors="replace").decode() if isinstance(value, str) else ""
    return plain or None


def _number(value: object) -> int | None:
    """Read a whole number, also as text (`userMetadata` holds nothing else) or with a fraction."""
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError):
        return None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None
