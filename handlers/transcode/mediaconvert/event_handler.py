"""What a job's events mean for the asset that waits for it: progress, renditions, a failure, or nothing.

An event is believed only as far as the stage waits for that very job. What comes late, twice or out of order changes
nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from handlers.results import Ignored, Progress, Repeated, Stale
from handlers.transcode.mediaconvert.events import JobStatus, TranscodeEvent, error_of, kind_of
from handlers.transcode.packaging.finalizer import Finalizer
from handlers.transcode.planning.billed_seconds import billed_seconds
from handlers.transcode.planning.submission import Submission
from media.asset import Asset, Stage, StageState, Status, TimelineEntry, output_prefix
from media.asset_store.stages import Commit, Facts, Note, StageRow
from media.errors import Code, RejectedError, RetryableError
from media.source_check import require_bound_is_current, require_undisturbed

WARNING = "job_warning"
"""Timeline code of a warning of the transcoder."""
UNRECORDED_DELAY = 3.0
"""Seconds to wait, first, when a job ends before its submission is recorded: its submitter may have died."""


@dataclass(frozen=True, slots=True)
class TranscodeEventHandler:
    """Reads events of jobs. `timeline` returns all entries of an asset, oldest first."""

    finalizer: Finalizer
    timeline: Callable[[UUID], Awaitable[Sequence[TimelineEntry]]]

    async def __call__(
        self, asset: Asset, stage: StageRow, event: TranscodeEvent
    ) -> Commit | Progress | Stale | Repeated | Ignored:
        """Return what one event changes of `asset`, whose transcode stage stands as `stage` says.

        Raises RejectedError, RetryableError and FailedError for a job that failed or cannot be used, and
        RetryableError(counted=False) for one that ended before its submission was recorded.
        """
        if event.status is JobStatus.UNKNOWN or event.attempt is None:
            return Ignored()
        submission = Submission.model_validate(stage.plan) if stage.plan else None
        if submission is None or submission.attempt != event.attempt or stage.job_id not in {None, event.job_id}:
            return _stale(event, submission)
        if stage.state in {StageState.LEASED, StageState.QUEUED}:
            if event.final:
                why = "the job ended before it was recorded"
                raise RetryableError(Code.TRANSCODER_ERROR, why, retry_after=UNRECORDED_DELAY, counts_as_attempt=False)
            return Repeated()
        if stage.state is not StageState.WAITING:
            return _stale(event, None) if asset.status is Status.DELETED and event.final else Repeated()
        if event.status is JobStatus.COMPLETE:
            return await self._complete(asset, submission, event)
        if event.final:
            await self._fail(asset, submission, event)
        return Progress(event.percent or 0, await self._new_warnings(asset, event))

    async def _complete(self, asset: Asset, submission: Submission, event: TranscodeEvent) -> Commit:
        await self._require_bound(asset, submission)
        prefix = output_prefix(asset, Stage.TRANSCODE, submission.attempt)
        completed = await self.finalizer.finish(submission.plan, prefix, event.groups)
        return Commit(
            StageState.DONE,
            Status.READY,
            facts=Facts(duration_ms=completed.duration_ms),
            renditions=completed.renditions,
            notes=[*completed.notes, Note("ready")],
            billed_seconds=billed_seconds(submission),
        )

    async def _fail(self, asset: Asset, submission: Submission, event: TranscodeEvent) -> None:
        """Raise what the job failed with. The input is at fault only if the job read the right one."""
        error = error_of(event)
        if isinstance(error, RejectedError):
            await self._require_bound(asset, submission)
        raise error

    async def _require_bound(self, asset: Asset, submission: Submission) -> None:
        """What the job read must have been the bound version."""
        await require_bound_is_current(self.finalizer.storage, asset, self.finalizer.bucket)
        require_undisturbed(await self.timeline(asset.asset_id), submission.at)

    async def _new_warnings(self, asset: Asset, event: TranscodeEvent) -> list[Note]:
        """Return each kind of warning once for each job: its events come twice, and count on."""
        if not event.warnings:
            return []
        timeline = await self.timeline(asset.asset_id)
        begun = [at for at, one in enumerate(timeline) if (one.code, one.detail) == ("submitted", event.job_id)]
        known = {kind_of(one.detail) for one in timeline[begun[-1] if begun else 0 :] if one.code == WARNING}
        new: dict[str, str] = {}
        for warning in event.warnings:
            new.setdefault(kind_of(warning), warning)
        return [Note(WARNING, warning) for kind, warning in new.items() if kind not in known]


def _stale(event: TranscodeEvent, submission: Submission | None) -> Stale:
    """An event of a job that nobody waits for. When the job has ended, what it wrote goes."""
    orphaned = event.final and (submission is None or submission.attempt != event.attempt)
    return Stale(event.job_id, event.attempt if orphaned else None)
