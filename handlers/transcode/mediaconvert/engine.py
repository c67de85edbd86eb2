"""The engine that submits a job to MediaConvert and acknowledges the message. The job's events follow later."""

from dataclasses import dataclass

from handlers.transcode.mediaconvert.create_job import create_job
from handlers.transcode.planning.plan import Plan
from handlers.transcode.planning.submission import EngineName, Submission, facts_of
from media.asset import Asset, Stage, StageState, Status, output_prefix
from media.asset_store.stages import Claim, Commit, FencedRecorder, Note
from media.aws.mediaconvert import Transcoder
from media.aws.s3 import ObjectStorage
from media.errors import Code, RetryableError
from media.source_check import require_bound_is_current

SAME_TOKEN = 50.0
"""Seconds during which the same token yields the same job; MediaConvert promises a minute."""
ABSENT = 300.0
"""Seconds for which a job may be missing from the search before it counts as never submitted."""
SEARCH_AGAIN = 60.0
"""Seconds until a job that was not found is searched for again."""
_DEAD_JOBS = frozenset({"ERROR", "CANCELED"})


@dataclass(frozen=True, slots=True)
class MediaConvertEngine:
    """Submits jobs. `queue` is a MediaConvert queue, None the default one."""

    storage: ObjectStorage
    transcoder: Transcoder
    bucket: str
    role_arn: str
    queue: str | None

    async def resume(self, claim: Claim) -> Commit | None:
        """Find the job of an earlier attempt that recorded a submission, but no job."""
        submission = Submission.model_validate(claim.plan) if claim.plan else None
        if submission is None or submission.engine is not EngineName.MEDIACONVERT:
            return None
        age = claim.claimed_at - submission.at
        if age < SAME_TOKEN:
            return _waiting(submission, await self._submit(claim.asset, submission))
        source = claim.asset.source
        job = await self.transcoder.find(
            f"s3://{source.bucket}/{source.key}", asset_id=str(claim.asset.asset_id), attempt=submission.attempt
        )
        if job is None and age < ABSENT:
            raise RetryableError(Code.TRANSCODER_ERROR, "the job is not to be found yet", retry_after=SEARCH_AGAIN)
        return _waiting(submission, job.job_id) if job and job.status not in _DEAD_JOBS else None

    async def require_source(self, asset: Asset) -> None:
        """Make sure that the bound version is the current one, which MediaConvert reads."""
        await require_bound_is_current(self.storage, asset, self.bucket)

    async def make(self, claim: Claim, plan: Plan, recorder: FencedRecorder) -> Commit:
        """Record the submission, then submit the job; the commit says `waiting`."""
        token = f"{claim.asset.asset_id.hex}-{claim.attempt}"
        submission = Submission(attempt=claim.attempt, token=token, plan=plan)
        await recorder.record_submission(submission.as_json())
        return _waiting(submission, await self._submit(claim.asset, submission))

    async def _submit(self, asset: Asset, submission: Submission) -> str:
        await require_bound_is_current(self.storage, asset, self.bucket)
        request = create_job(
            submission.plan,
            source=asset.source,
            output_bucket=self.bucket,
            output_prefix=output_prefix(asset, Stage.TRANSCODE, submission.attempt),
            role_arn=self.role_arn,
            queue=self.queue,
            asset_id=asset.asset_id,
            attempt=submission.attempt,
            token=submission.token,
        )
        return await self.transcoder.create(request)


def _waiting(submission: Submission, job_id: str) -> Commit:
    notes = [Note("planned", str(submission.plan)), Note("submitted", job_id)]
    return Commit(StageState.WAITING, Status.PROCESSING, facts=facts_of(submission.plan), notes=notes, job_id=job_id)
