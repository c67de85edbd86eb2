"""A job as GetJob describes it, read as the event that did not come."""

from handlers.transcode.mediaconvert.events import TranscodeEvent, parse_event
from media.asset import Asset
from media.aws.mediaconvert import Job

_STATUS = {"SUBMITTED": "PROGRESSING", "PROGRESSING": "STATUS_UPDATE"}


def event_of_job(job: Job, asset: Asset) -> TranscodeEvent:
    """The event that says what this job document says. Paths are missing in it: the plan knows them.

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
