"""What a job's events do to its asset: progress, renditions, ready, rejected, another try, or failed.

An event is believed only as far as the stage waits for that very job; whatever comes late, twice or out of order
changes nothing.
"""

from dataclasses import dataclass
from enum import StrEnum

import structlog

from handlers.transcode.bound_source import require_bound, require_undisturbed
from handlers.transcode.completion import Completion
from handlers.transcode.events import JobStatus, TranscodeEvent, error_of, kind_of
from handlers.transcode.intent import Intent
from handlers.transcode.output_seconds import count_output
from media.asset import Asset, Stage, StageState, Status, output_prefix
from media.asset_store.assets import AssetStore
from media.asset_store.stages import Commit, Facts, Fence, Note, StageRow, StageStore
from media.contracts import TranscodeRequested
from media.errors import Code, LeaseLostError, RejectedError, RetryableError
from media.objectives import End, count_end
from media.outbox import Effect, EffectKind, Outbox
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

WARNING = "job_warning"
"""On the timeline."""
EARLY = 3.0
"""Seconds to wait, first, when a job ends before its submission is recorded: its submitter may have died."""


class Applied(StrEnum):
    """What came of an event."""

    CHANGED = "changed"
    REJECTED = "rejected"
    FAILED = "failed"
    REPEATED = "repeated"
    STALE = "stale"
    NOT_OURS = "not_ours"


@dataclass(frozen=True, slots=True)
class TranscodeEventHandler:
    """Applies events. Raises RetryableError and UnavailableError."""

    completion: Completion
    assets: AssetStore
    stages: StageStore
    outbox: Outbox
    metrics: Metrics
    max_attempts: int

    async def __call__(self, event: TranscodeEvent) -> Applied:
        """Apply one event. One of an unknown status is counted as ignored, and nothing else."""
        if event.status is JobStatus.UNKNOWN:
            return Applied.NOT_OURS
        if event.asset_id is None or event.attempt is None:
            log.warning("transcode.unknown_job", job_id=event.job_id, status=event.status)
            return Applied.NOT_OURS
        structlog.contextvars.bind_contextvars(asset_id=str(event.asset_id))
        asset = await self.assets.get(event.asset_id)
        row = await self.stages.get(event.asset_id, Stage.TRANSCODE)
        if asset is None or row is None:
            log.warning("transcode.unknown_asset", job_id=event.job_id, status=event.status)
            return Applied.NOT_OURS
        intent = Intent.model_validate(row.plan) if row.plan else None
        if intent is None or intent.attempt != event.attempt or row.job_id not in {None, event.job_id}:
            return await self._stale(asset, event, intent)
        known = {"asset_id": str(asset.asset_id)} | ({"trace_id": asset.trace_id} if asset.trace_id else {})
        with structlog.contextvars.bound_contextvars(**known):  # the event itself knows no trace
            return await self._apply(asset, row, intent, event)

    async def _apply(self, asset: Asset, row: StageRow, intent: Intent, event: TranscodeEvent) -> Applied:
        if row.state in {StageState.LEASED, StageState.QUEUED}:
            if event.final:
                why = "the job ended before it was recorded"
                raise RetryableError(Code.TRANSCODER_ERROR, why, after=EARLY, counted=False)
            return Applied.REPEATED
        if row.state is not StageState.WAITING:
            await self.outbox.carry_out_of(asset.asset_id)
            if asset.status is Status.DELETED and event.final:
                return await self._stale(asset, event, None)
            return Applied.REPEATED
        match event.status:
            case JobStatus.COMPLETE:
                return await self._complete(asset, row, intent, event)
            case JobStatus.ERROR | JobStatus.CANCELED:
                return await self._failed(asset, row, intent, event)
            case _:
                return await self._progress(asset, event)

    async def _stale(self, asset: Asset, event: TranscodeEvent, intent: Intent | None) -> Applied:
        """An event of a job that nobody waits for: when it has ended, what it wrote goes."""
        if event.final and event.attempt is not None and (intent is None or intent.attempt != event.attempt):
            await self.assets.note(asset.asset_id, "stale_job", event.job_id, [self._prefix(asset, event.attempt)])
        return Applied.STALE

    async def _progress(self, asset: Asset, event: TranscodeEvent) -> Applied:
        if event.warnings:
            await self._warn(asset, event)
        moved = await self.stages.progress(asset.asset_id, event.job_id, event.percent or 0)
        return Applied.CHANGED if moved else Applied.REPEATED

    async def _warn(self, asset: Asset, event: TranscodeEvent) -> None:
        """Note each kind of warning once for each job: its events come twice, and count on."""
        timeline = await self.assets.timeline(asset.asset_id)
        begun = [at for at, one in enumerate(timeline) if (one.code, one.detail) == ("submitted", event.job_id)]
        known = {kind_of(one.detail) for one in timeline[begun[-1] if begun else 0 :] if one.code == WARNING}
        for warning in event.warnings:
            if kind_of(warning) not in known:
                known.add(kind_of(warning))
                await self.assets.note(asset.asset_id, WARNING, warning)

    async def _complete(self, asset: Asset, row: StageRow, intent: Intent, event: TranscodeEvent) -> Applied:
        prefix = output_prefix(asset, Stage.TRANSCODE, intent.attempt)
        try:
            await self._require_bound(asset, intent)
            completed = await self.completion.finish(intent.plan, prefix, event)
        except RejectedError as error:
            return await self._reject(asset, row, error)
        except RetryableError as error:
            return await self._again(asset, row, error)
        commit = Commit(
            StageState.DONE,
            Status.READY,
            facts=Facts(duration_ms=completed.duration_ms),
            renditions=completed.renditions,
            notes=[*completed.notes, Note("ready")],
            effects=[self._prefix(asset, n) for n in range(1, row.attempt + 1) if n != intent.attempt],
        )
        applied = await self._commit(asset, row, commit, Applied.CHANGED)
        if applied is Applied.CHANGED:
            count_output(self.metrics, intent)
        return applied

    async def _failed(self, asset: Asset, row: StageRow, intent: Intent, event: TranscodeEvent) -> Applied:
        error = error_of(event)
        if isinstance(error, RejectedError):
            return await self._rejected(asset, row, intent, error)
        if event.status is JobStatus.CANCELED or not isinstance(error, RetryableError):
            self.metrics.failures.labels(Stage.TRANSCODE, error.code).inc()
            return await self._give_up(asset, row, error.code, error.detail)
        return await self._again(asset, row, error)

    async def _rejected(self, asset: Asset, row: StageRow, intent: Intent, error: RejectedError) -> Applied:
        """The input is at fault, if it was the right one."""
        try:
            await self._require_bound(asset, intent)
        except RejectedError as changed:
            return await self._reject(asset, row, changed)
        except RetryableError as disturbed:
            return await self._again(asset, row, disturbed)
        return await self._reject(asset, row, error)

    async def _require_bound(self, asset: Asset, intent: Intent) -> None:
        """What the job read must have been the bound version."""
        await require_bound(self.completion.storage, asset, self.completion.bucket)
        require_undisturbed(await self.assets.timeline(asset.asset_id), intent.at)

    async def _reject(self, asset: Asset, row: StageRow, error: RejectedError) -> Applied:
        commit = Commit(
            StageState.REJECTED,
            Status.REJECTED,
            code=error.code,
            detail=error.detail,
            notes=[Note("rejected", str(error))],
            effects=self._all_prefixes(asset, row),
        )
        return await self._commit(asset, row, commit, Applied.REJECTED)

    async def _again(self, asset: Asset, row: StageRow, error: RetryableError) -> Applied:
        """Submit another job, as long as attempts are left."""
        self.metrics.failures.labels(Stage.TRANSCODE, error.code).inc()
        if row.tries >= self.max_attempts:
            return await self._give_up(asset, row, Code.ATTEMPTS_EXHAUSTED, str(error))
        request = TranscodeRequested(
            asset_id=asset.asset_id, bucket=asset.bucket, key=asset.key, version_id=asset.version_id or ""
        )
        commit = Commit(
            StageState.QUEUED,
            Status.PROCESSING,
            notes=[Note("retry", str(error))],
            effects=[Effect.send("transcodes", request, owner_id=asset.owner_id), *self._all_prefixes(asset, row)],
        )
        return await self._commit(asset, row, commit, Applied.CHANGED)

    async def _give_up(self, asset: Asset, row: StageRow, code: Code, detail: str) -> Applied:
        commit = Commit(
            StageState.FAILED,
            Status.FAILED,
            code=code,
            detail=detail,
            notes=[Note("failed", f"{code}: {detail}")],
            effects=self._all_prefixes(asset, row),
        )
        return await self._commit(asset, row, commit, Applied.FAILED)

    async def _commit(self, asset: Asset, row: StageRow, commit: Commit, applied: Applied) -> Applied:
        fence = Fence(asset.asset_id, Stage.TRANSCODE, row.attempt, StageState.WAITING)
        try:
            rows = await self.stages.commit(fence, commit)
        except LeaseLostError:
            return Applied.STALE
        log.info("stage.committed", stage=Stage.TRANSCODE, state=commit.state, status=commit.status, code=commit.code)
        count_end(self.metrics, asset, End(Stage.TRANSCODE, commit.status, commit.code or "", commit.facts.duration_ms))
        await self.outbox.carry_out(rows)
        return applied

    def _all_prefixes(self, asset: Asset, row: StageRow) -> list[Effect]:
        return [self._prefix(asset, attempt) for attempt in range(1, row.attempt + 1)]

    def _prefix(self, asset: Asset, attempt: int) -> Effect:
        prefix = output_prefix(asset, Stage.TRANSCODE, attempt)
        return Effect(EffectKind.DELETE_PREFIX, self.completion.bucket, {"prefix": prefix})
