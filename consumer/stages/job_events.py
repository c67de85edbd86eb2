"""Applies the events of transcoding jobs to the stages that wait for them."""

from dataclasses import dataclass

import structlog

from consumer.queue.outcome import DUPLICATE, IGNORED, STALE, SUCCESS, Outcome, OutcomeKind
from consumer.stages.lifecycle import EndKind, StageEnd, StageLifecycle
from handlers.results import Ignored, Progress, Repeated, Stale
from handlers.transcode.mediaconvert.event_handler import TranscodeEventHandler
from handlers.transcode.mediaconvert.events import TranscodeEvent
from media.asset import Asset, Stage, StageState
from media.asset_store.stages import Commit, StageRow
from media.errors import FailedError, RejectedError, RetryableError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JobEvents:
    """Applies events of jobs, whether they came from a queue or were made from the state of a job."""

    handler: TranscodeEventHandler
    lifecycle: StageLifecycle

    async def apply(self, event: TranscodeEvent) -> Outcome:
        """Write what one event changes. Raises RetryableError and UnavailableError."""
        if event.asset_id is None or event.attempt is None:
            log.warning("transcode.unknown_job", job_id=event.job_id, status=event.status)
            return IGNORED
        structlog.contextvars.bind_contextvars(asset_id=str(event.asset_id))
        asset = await self.lifecycle.assets.get(event.asset_id)
        row = await self.lifecycle.stages.get(event.asset_id, Stage.TRANSCODE)
        if asset is None or row is None:
            log.warning("transcode.unknown_asset", job_id=event.job_id, status=event.status)
            return IGNORED
        known = {"asset_id": str(asset.asset_id)} | ({"trace_id": asset.trace_id} if asset.trace_id else {})
        with structlog.contextvars.bound_contextvars(**known):  # the event itself knows no trace
            return await self._apply(asset, row, event)

    async def _apply(self, asset: Asset, row: StageRow, event: TranscodeEvent) -> Outcome:
        claim = row.claim_of(asset, Stage.TRANSCODE)
        try:
            result = await self.handler(asset, row, event)
        except (RejectedError, RetryableError, FailedError) as error:
            if row.state is not StageState.WAITING:
                raise  # the stage does not wait for a job: the event itself is retried
            return _outcome(await self.lifecycle.fail(claim, error))
        match result:
            case Commit():
                return _outcome(await self.lifecycle.finish(claim, result))
            case Progress():
                for note in result.notes:
                    await self.lifecycle.assets.note(asset.asset_id, note.code, note.detail)
                moved = await self.lifecycle.stages.progress(asset.asset_id, event.job_id, result.percent)
                return SUCCESS if moved else DUPLICATE
            case Stale():
                if result.orphaned_attempt is not None:
                    effects = [self.lifecycle.rules.removal(asset, Stage.TRANSCODE, result.orphaned_attempt)]
                    await self.lifecycle.assets.note(asset.asset_id, "stale_job", result.job_id, effects)
                return STALE
            case Repeated():
                await self.lifecycle.outbox.dispatch_pending(asset.asset_id)
                return DUPLICATE
            case Ignored():
                return IGNORED


def _outcome(end: StageEnd) -> Outcome:
    """Return what becomes of an event that ended a stage like this. The event itself has done its work in any case."""
    match end.kind:
        case EndKind.REJECTED:
            return Outcome(OutcomeKind.REJECTED, error=end.error)
        case EndKind.LOST:
            return STALE
        case _:
            return SUCCESS
