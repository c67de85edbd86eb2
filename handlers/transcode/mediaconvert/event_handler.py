"""Decides what a job's event means for the asset that waits for the job: progress, renditions, a failure, or nothing.

An event counts only if the stage waits for that very job. Events that arrive late, twice or out of order change
nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from handlers.results import Ignored, Progress, Repeated, Stale
from handlers.transcode.mediaconvert.events import JobStatus, TranscodeEvent, error_of, kind_of
from handlers.transcode.packaging.finalizer import Finalizer
from handlers.transcode.planning.billed_seconds import billed_seconds
from handlers.transcode.planning.submission import Submission, facts_of
from media.asset import Asset, Stage, StageState, Status, TimelineEntry, output_prefix
from media.asset_store.stages import Commit, Note, StageRow
from media.errors import Code, RejectedError, RetryableError
from media.source_check import require_bound_is_current, require_undisturbed

WARNING = "job_warning"
"""Timeline code of a warning by the transcoder."""
UNRECORDED_DELAY = 3.0
"""Seconds before the first retry when a job ended before its submission was recorded: the submitter may have died."""


@dataclass(frozen=True, slots=True)
class TranscodeEventHandler:
    """Reads events of jobs. `timeline` returns all entries of an asset, oldest first.

    `late_version_at` returns when a version after the bound one was last removed.
    """

    finalizer: Finalizer
    timeline: Callable[[UUID], Awaitable[Sequence[TimelineEntry]]]
    late_version_at: Callable[[UUID], Awaitable[datetime | None]]

    async def __call__(
        self, asset: Asset, stage: StageRow, event: TranscodeEvent
    ) -> Commit | Progress | Stale | Repeated | Ignored:
        """Return what one event changes of `asset`, whose transcode stage is `stage`.

        Raises RejectedError, RetryableError and FailedError for a job that failed or cannot be used, and
        RetryableError(counts_as_attempt=False) for one that ended before its submission was recorded.
        """
        if event.status is JobStatus.UNKNOWN or event.attempt is None:
            return Ignored()
        submission = Submission.model_validate(stage.plan) if stage.plan else None
        if submission is None or submission.attempt != event.attempt or stage.job_id not in {None, event.job_id}:
            # The plan of a stage that is done is dropped in the end. Its outputs are in use.
            is_forgotten = not stage.plan and stage.state is StageState.DONE and asset.status is not Status.DELETED
            return Repeated() if is_forgotten else _stale(event, submission)
        if stage.state in {StageState.LEASED, StageState.QUEUED}:
            if event.final:
                why = "the job ended before it was recorded"
                raise RetryableError(Code.TRANSCODER_ERROR, why, retry_after=UNRECORDED_DELAY, counts_as_attempt=False)
            return Repeated()
        if stage.state is not StageState.WAITING:
            return _stale(event, None) if asset.status is Status.DELETED and event.final else Repeated()
        if event.status is JobStatus.COMPLETE:
            await self._require_bound(asset, submission)
            prefix = output_prefix(asset, Stage.TRANSCODE, submission.attempt)
            completed = await self.finalizer.finish(submission.plan, prefix, event.groups)
            return Commit(
                StageState.DONE,
                Status.READY,
                facts=replace(facts_of(submission.plan), duration_ms=completed.duration_ms),
                renditions=completed.renditions,
                notes=[*completed.notes, Note("ready")],
                billed_seconds=billed_seconds(submission),
            )
        if event.final:
            error = error_of(event)
            if isinstance(error, RejectedError):
                # The input is at fault only if the job read the right one.
                await self._require_bound(asset, submission)
            raise error
        return Progress(event.percent or 0, await self._new_warnings(asset, event))

    async def _require_bound(self, asset: Asset, submission: Submission) -> None:
        """Raise an error unless the job read the bound version."""
        await require_bound_is_current(self.finalizer.storage, asset, self.finalizer.bucket)
        # Asked last: a version that was removed before the object was looked at is told of by now.
        late = await self.late_version_at(asset.asset_id)
        require_undisturbed(await self.timeline(asset.asset_id), late, submission.at)

    async def _new_warnings(self, asset: Asset, event: TranscodeEvent) -> list[Note]:
        """Return the kinds of warning that the timeline lacks for this job: events arrive twice, with other counts."""
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
    """Describe an event of a job that no stage waits for. When the job has ended, its outputs are orphaned."""
    orphaned = event.final and (submission is None or submission.attempt != event.attempt)
    return Stale(event.job_id, event.attempt if orphaned else None)
