"""Converts a job as GetJob describes it into the event that was not received."""

from handlers.transcode.mediaconvert.events import TranscodeEvent, parse_event
from media.asset import Asset
from media.aws.mediaconvert import Job

_STATUS = {"SUBMITTED": "PROGRESSING", "PROGRESSING": "STATUS_UPDATE"}


def event_of_job(job: Job, asset: Asset) -> TranscodeEvent:
    """Return the event for a job document. It has no paths of outputs, which follow from the plan.

    Raises UndecodableError for a job without a status.
    """
    document = job.detail
    detail = {
        "jobId": job.job_id,
        "status": _STATUS.get(job.status, job.status),
        "userMetadata": {"asset_id": str(asset.asset_id), "attempt": str(job.attempt)},
        "jobProgress": {"jobPercentComplete": document.get("JobPercentComplete")},
        "errorCode": document.get("ErrorCode"),
        "errorMessage": document.get("ErrorMessage"),
    }
    return parse_event(detail)
