"""The adapter to MediaConvert: the only module that calls it."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError

from media.errors import Code, Dependency, RetryableError, UnavailableError

if TYPE_CHECKING:
    from types_aiobotocore_mediaconvert import MediaConvertClient

CALL_TIMEOUT = 8.0
"""Seconds for one call, its retries included: as short as S3's, and for the same reason."""
INPUT_FILTER_LIMIT = 300
"""Most characters of the InputFile that SearchJobs filters by."""
_AWAY = frozenset({"TooManyRequestsException", "InternalServerErrorException", "ServiceUnavailableException"})


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


@contextmanager
def mediaconvert_calls() -> Iterator[None]:
    """Turn failures into JobGoneError, UnavailableError or, for a refusal, RetryableError(transcoder_error)."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code == "NotFoundException":
            raise JobGoneError(str(error)) from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _AWAY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise UnavailableError(Dependency.MEDIACONVERT, str(error)) from error
        raise RetryableError(Code.TRANSCODER_ERROR, str(error)) from error
    except (BotoCoreError, HttpError, OSError, TimeoutError) as error:
        raise UnavailableError(Dependency.MEDIACONVERT, f"{type(error).__name__}: {error}") from error


class Transcoder:
    """Submits, reads, finds and cancels MediaConvert jobs.

    Every method raises UnavailableError when MediaConvert is down, RetryableError(transcoder_error) when it refuses.
    """

    def __init__(self, client: "MediaConvertClient") -> None:
        self._client = client

    async def create(self, request: Mapping[str, Any]) -> str:
        """Submit a job; returns its id. The same ClientRequestToken within one minute returns the same job."""
        with mediaconvert_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._client.create_job(**request)
        return answer["Job"]["Id"]

    async def get(self, job_id: str) -> Job:
        """Return one job. Raises JobGoneError."""
        with mediaconvert_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._client.get_job(Id=job_id)
        return _job(answer["Job"])

    async def find(self, input_file: str, *, asset_id: str, attempt: int) -> Job | None:
        """Find the job of one attempt by its input. For when the answer to `create` was lost."""
        with mediaconvert_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._client.search_jobs(InputFile=input_file[:INPUT_FILTER_LIMIT], MaxResults=20)
        jobs = (_job(job) for job in answer.get("Jobs", ()))
        return next((job for job in jobs if job.asset_id == asset_id and job.attempt == attempt), None)

    async def ping(self) -> None:
        """Raise unless MediaConvert answers."""
        with mediaconvert_calls():
            async with asyncio.timeout(CALL_TIMEOUT):
                await self._client.list_jobs(MaxResults=1)

    async def cancel(self, job_id: str) -> None:
        """Cancel a job. A job that has ended, or does not exist, is no error."""
        try:
            with mediaconvert_calls():
                async with asyncio.timeout(CALL_TIMEOUT):
                    await self._client.cancel_job(Id=job_id)
        except JobGoneError:
            return
        except RetryableError as refusal:
            if "ConflictException" not in refusal.detail and "BadRequest" not in refusal.detail:
                raise


def _job(document: Any) -> Job:
    metadata = document.get("UserMetadata") or {}
    attempt = str(metadata.get("attempt", "0"))
    return Job(
        job_id=str(document.get("Id", "")),
        status=str(document.get("Status", "")),
        asset_id=str(metadata.get("asset_id", "")),
        attempt=int(attempt) if attempt.isdigit() else 0,
        detail=document,
    )
