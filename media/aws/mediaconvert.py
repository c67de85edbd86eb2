"""The adapter to MediaConvert: the only module that calls it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from media.aws.failures import UNFORESEEN, AccessCheck, AwsFailure, classify
from media.errors import Code, Dependency, FailureKind, RetryableError, UnavailableError

if TYPE_CHECKING:
    from types_aiobotocore_mediaconvert import MediaConvertClient

log = structlog.get_logger(__name__)

CALL_TIMEOUT = 8.0
"""Seconds for one call, its retries included: as short as S3's, and for the same reason."""
INPUT_FILTER_LIMIT = 300
"""Most characters of the InputFile that SearchJobs filters by."""
_GONE = AwsFailure(FailureKind.INPUT, "the job is not known: told as such to whoever asked for it")
_FORBIDDEN = AwsFailure(FailureKind.UNAVAILABLE, "our role may not do it, whatever the file")
CODES: dict[str, AwsFailure] = {
    "NotFoundException": _GONE,
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "ForbiddenException"), _FORBIDDEN),
    "ServiceQuotaExceededException": AwsFailure(FailureKind.UNAVAILABLE, "too many jobs are waiting"),
}
"""MediaConvert's own codes. No job names anything that another's rights protect, so that no refusal is a file's."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as MediaConvert has it. `detail` is the job document, in the shape of the API."""

    job_id: str
    status: str
    asset_id: str
    attempt: int
    detail: Mapping[str, Any]


class JobGoneError(Exception):
    """MediaConvert does not know the job."""


class Transcoder:
    """Submits, reads, finds and cancels MediaConvert jobs.

    Every method raises UnavailableError when MediaConvert is down or its answer makes no sense,
    RetryableError(transcoder_error) when it refuses one job and answers for others.
    """

    def __init__(self, client: "MediaConvertClient") -> None:
        self._client = client
        self._access = AccessCheck(Dependency.MEDIACONVERT, self._list)

    @asynccontextmanager
    async def _calls(self) -> AsyncIterator[None]:
        """Limit a call to CALL_TIMEOUT, and turn its failure into JobGoneError or one of the errors of every method."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                yield
        except Exception as error:
            failure = classify(error, CODES)
            if failure is _GONE:
                raise JobGoneError(str(error)) from error
            if failure.kind is FailureKind.BUG:
                raise
            if failure.kind is FailureKind.REFUSED and await self._access.passes():
                if failure is UNFORESEEN:
                    raise
                raise RetryableError(Code.TRANSCODER_ERROR, str(error)) from error
            if failure is UNFORESEEN:
                log.exception("mediaconvert.unforeseen")
            detail = f"{type(error).__name__}: {error}"
            raise UnavailableError(Dependency.MEDIACONVERT, detail, is_unforeseen=failure is UNFORESEEN) from error

    async def _list(self) -> None:
        """Make a signed call that says nothing about any job."""
        answer = await self._client.list_jobs(MaxResults=1)
        if not isinstance(answer.get("Jobs", []), list):
            raise TypeError("no list of jobs")

    async def create(self, request: Mapping[str, Any]) -> str:
        """Submit a job; returns its id. The same ClientRequestToken within one minute returns the same job."""
        async with self._calls():
            answer = await self._client.create_job(**request)
            return _job(answer["Job"]).job_id

    async def get(self, job_id: str) -> Job:
        """Return one job. Raises JobGoneError."""
        async with self._calls():
            answer = await self._client.get_job(Id=job_id)
            return _job(answer["Job"])

    async def find(self, input_file: str, *, asset_id: str, attempt: int) -> Job | None:
        """Find the job of one attempt by its input. For when the answer to `create` was lost."""
        async with self._calls():
            answer = await self._client.search_jobs(InputFile=input_file[:INPUT_FILTER_LIMIT], MaxResults=20)
            jobs = [_job(job) for job in answer.get("Jobs", ())]
        return next((job for job in jobs if job.asset_id == asset_id and job.attempt == attempt), None)

    async def ping(self) -> None:
        """Raise unless MediaConvert answers a call that our role signs."""
        async with self._calls():
            await self._list()

    async def cancel(self, job_id: str) -> None:
        """Cancel a job. A job that has ended, or does not exist, is no error."""
        try:
            async with self._calls():
                await self._client.cancel_job(Id=job_id)
        except JobGoneError:
            return
        except RetryableError as refusal:
            if "ConflictException" not in refusal.detail and "BadRequest" not in refusal.detail:
                raise


def _job(document: Any) -> Job:
    """Read a job. Raises TypeError, KeyError or AttributeError when it is none."""
    metadata = document.get("UserMetadata") or {}
    attempt, job_id = str(metadata.get("attempt", "0")), document["Id"]
    if not isinstance(job_id, str):
        raise TypeError(f"not a job's id: {job_id!r:.100}")
    return Job(
        job_id=job_id,
        status=str(document.get("Status", "")),
        asset_id=str(metadata.get("asset_id", "")),
        attempt=int(attempt) if attempt.isdecimal() else 0,
        detail=document,
    )
