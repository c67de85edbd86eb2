"""Decide how a stage ends: what to commit, what to clean up, what to count, and what to ask for next.

The only place that chooses between another attempt, `rejected` and `failed`. Nothing is written here: the consumer's
`StageLifecycle` carries it out for handlers, job events, the reconciler and the clean-up of old outputs. The API
deletes assets with the same rules.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from media.asset import (
    OUTPUT_ROOTS,
    Asset,
    AssetNote,
    AssetType,
    DeliveryClass,
    Stage,
    StageState,
    Status,
    attempt_prefix,
    moved_key,
    output_prefix,
    unmoved,
)
from media.asset_store.assets import DeliveryChangeEnd
from media.asset_store.stages import Claim, Commit, Facts, Note
from media.errors import Code, MediaError, RejectedError, RetryableError
from media.outbox import Effect, EffectKind
from media.stage_requests import request

NO_PREVIEW = "no_preview"
"""Code of the note on a document whose pages could not be made."""
MAX_CLEANED_ATTEMPTS = 50
"""Most attempts of a stage whose outputs one clean-up removes, the latest ones. Each is a row of the outbox."""
LATE_COPIES = 3600.0
"""Seconds after which the copies of a change that was given up are removed: another daemon may still write some."""
CACHED_ROOTS = ("public", "processed")
"""First parts of the keys that CloudFront serves."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """The consequence of an attempt that failed.

    `commit` is None where the stage is released and the same message tries again. `counts` says whether the attempt is
    counted in `media_stage_failures_total`.
    """

    commit: Commit | None
    counts: bool


@dataclass(frozen=True, slots=True)
class EndingRules:
    """The rules of one deployment: where outputs lie, and how many attempts a stage has."""

    output_bucket: str
    max_attempts: int

    def finish(self, claim: Claim, commit: Commit) -> Commit:
        """Add the removal of outputs of earlier attempts to a handler's commit, which names all that is served."""
        if commit.state is StageState.WAITING:
            return commit  # a job that an earlier attempt submitted may be adopted, and still writes
        if commit.status is Status.REJECTED and claim.attempt > claim.tries:
            # A round before this one may have been served: a claim does not tell, but its attempts are forgiven.
            return replace(commit, effects=[*commit.effects, *self.withdraw(claim.asset)])
        served = [rendition.key for rendition in commit.renditions]
        removed = self.orphaned_outputs(claim.asset, claim.stage, claim.attempt, served)
        return replace(commit, effects=[*commit.effects, *removed])

    def fail(self, claim: Claim, error: MediaError) -> FailedAttempt:
        """Choose between another attempt, `rejected` and `failed`.

        An attempt counts unless it only waited (`counts_as_attempt=False`). A job that has ended counts in any case:
        it is paid for, and a client that uploads beside each job must not have jobs repeated without end.
        """
        if isinstance(error, RejectedError):
            return FailedAttempt(self._end(claim, _rejected(error)), counts=False)
        if not isinstance(error, RetryableError):
            return FailedAttempt(self._end(claim, _failed(error.code, error.detail, error)), counts=True)
        is_job = claim.state is StageState.WAITING
        counts = error.counts_as_attempt or is_job
        if counts and claim.tries >= self.max_attempts:
            if error.code_when_exhausted:  # the work depends on nothing but the input
                last = _rejected(RejectedError(error.code_when_exhausted, str(error)))
            else:
                last = _failed(Code.ATTEMPTS_EXHAUSTED, str(error), error)
            return FailedAttempt(self._end(claim, last), counts=True)
        if not is_job:
            return FailedAttempt(None, counts=counts)
        # No message is left that could try again, so one is sent.
        another = Commit(
            StageState.QUEUED,
            Status.PROCESSING,
            notes=[Note("retry", str(error))],
            effects=[request(claim.stage, claim.asset)],
        )
        return FailedAttempt(self.finish(claim, another), counts=counts)

    def check_attempts(self, claim: Claim) -> None:
        """Raise RetryableError(worker_crashed) for a claim beyond the limit.

        A killed worker reports nothing, so only the next claim shows that every attempt ended without a result.
        """
        if claim.tries > self.max_attempts:
            raise RetryableError(Code.WORKER_CRASHED, "every attempt ended without a result")

    def fail_stalled(self, claim: Claim) -> Commit:
        """Give up a stage that did not change in spite of all reminders, and cancel the job that it waits for."""
        commit = Commit(StageState.FAILED, Status.FAILED, code=Code.STALLED, notes=[Note("stalled")])
        canceled = [_cancellation(claim.job_id)] if claim.job_id else []
        return self._end(claim, replace(commit, effects=canceled))

    def _end(self, claim: Claim, commit: Commit) -> Commit:
        """Finish a stage that is given up. A document that was scanned is ready without its pages, too.

        Without its file it is not: that is the same for every type.
        """
        is_preview = claim.stage is Stage.IMAGE and claim.asset.asset_type is AssetType.DOCUMENT
        if is_preview and commit.code not in {Code.SOURCE_MISSING, Code.SOURCE_CHANGED}:
            facts = Facts(notes=[AssetNote(NO_PREVIEW, "No picture of its pages could be made")])
            why = f"{commit.code}: {commit.detail}" if commit.detail else str(commit.code)
            notes = [Note(NO_PREVIEW, why), Note("ready")]
            commit = Commit(StageState.DONE, Status.READY, facts=facts, notes=notes, effects=commit.effects)
        return self.finish(claim, commit)

    def abandon(self, claim: Claim) -> list[Effect]:
        """Remove the outputs of an attempt that lost its lease.

        A transcode's outputs stay: its job may have been adopted by the next attempt, and its events clean up.
        """
        if claim.stage is Stage.TRANSCODE or not _writes(claim.asset, claim.stage):
            return []
        return [self.removal(claim.asset, claim.stage, claim.attempt)]

    def orphaned_outputs(self, asset: Asset, stage: Stage, last: int, served: Iterable[str]) -> list[Effect]:
        """Remove the outputs of attempts up to number `last`, except of those that wrote a `served` key.

        What a change of delivery left behind stays too: it goes when the last URL of it has ended.
        """
        if not _writes(asset, stage):
            return []
        kept = {unmoved(prefix.split("/")[4]) for key in served if (prefix := attempt_prefix(key))}
        attempts = range(max(1, last - MAX_CLEANED_ATTEMPTS + 1), last + 1)
        removed = [attempt for attempt in attempts if f"{stage}-{attempt}" not in kept]
        changes = range(max(1, asset.delivery_changes - 1), asset.delivery_changes + 1)
        copies = [
            _prefix_removal(self.output_bucket, f"{output_prefix(asset, stage, attempt)[:-1]}-m{change}/")
            for attempt in removed
            for change in changes
        ]
        return [*(self.removal(asset, stage, attempt) for attempt in removed), *copies]

    def removal(self, asset: Asset, stage: Stage, attempt: int) -> Effect:
        """Remove everything that one attempt wrote."""
        return _prefix_removal(self.output_bucket, output_prefix(asset, stage, attempt))

    def delete(self, asset: Asset, job_id: str | None) -> list[Effect]:
        """Remove everything of a deleted asset, and cancel the job it waits for.

        A recording's source lies in a bucket of the webinar service and stays.
        """
        effects = self.withdraw(asset) if asset.renditions else self._remove_outputs(asset)
        if asset.bucket == self.output_bucket:
            effects.append(Effect(EffectKind.DELETE_KEY, asset.bucket, {"key": asset.key}))
        return [*effects, _cancellation(job_id)] if job_id else effects

    def withdraw(self, asset: Asset) -> list[Effect]:
        """Remove all outputs of an asset that may have been served, and then what CloudFront has of them."""
        keys = [output_prefix(asset, Stage.IMAGE, 1), *(rendition.key for rendition in asset.renditions)]
        # URLs from before a change of delivery may still be good.
        roots = set(CACHED_ROOTS) if asset.delivery_changes else {key.partition("/")[0] for key in keys}
        cached = [f"{root}/{_folder(asset)}" for root in CACHED_ROOTS if root in roots]
        return [*self._remove_outputs(asset), *(Effect(EffectKind.INVALIDATE, prefix, {}) for prefix in cached)]

    def change_delivery(self, asset: Asset, delivery: DeliveryClass, keep: float) -> DeliveryChangeEnd:
        """Serve an asset from its copies. The old files go after `keep` seconds, and then from caches for everybody."""
        old = {rendition.name: rendition.key for rendition in asset.renditions}
        new = {name: moved_key(key, delivery, asset.delivery_changes) for name, key in old.items()}
        left = sorted({attempt_prefix(old[name]) for name in old if new[name] != old[name]})
        effects = [_prefix_removal(self.output_bucket, prefix) for prefix in left]
        if any(prefix.startswith("public/") for prefix in left):
            effects.append(Effect(EffectKind.INVALIDATE, f"public/{_folder(asset)}", {}))
        return DeliveryChangeEnd(old, new, effects=effects, delay=keep)

    def keep_delivery(self, asset: Asset, delivery: DeliveryClass, reason: str) -> DeliveryChangeEnd:
        """Give a change up: nothing is switched, and what was copied is removed."""
        old = {rendition.key for rendition in asset.renditions}
        copies = {moved_key(key, delivery, asset.delivery_changes) for key in old} - old
        effects = [_prefix_removal(self.output_bucket, prefix) for prefix in sorted(set(map(attempt_prefix, copies)))]
        return DeliveryChangeEnd(reason=reason, effects=effects, delay=LATE_COPIES)

    def output_places(self, asset: Asset) -> list[str]:
        """Return the prefixes below which all outputs of an asset lie."""
        return [f"{root}/{_folder(asset)}" for root in OUTPUT_ROOTS]

    def _remove_outputs(self, asset: Asset) -> list[Effect]:
        return [_prefix_removal(self.output_bucket, prefix) for prefix in self.output_places(asset)]


def _folder(asset: Asset) -> str:
    """Return the folder of an asset's outputs below each root."""
    return f"{asset.asset_type}/{asset.owner_id}/{asset.asset_id}/"


def _cancellation(job_id: str) -> Effect:
    """Cancel a job of the transcoder."""
    return Effect(EffectKind.CANCEL_JOB, job_id, {})


def _writes(asset: Asset, stage: Stage) -> bool:
    """Say whether attempts of a stage leave files behind; a scan does for documents only."""
    return stage is not Stage.SCAN or asset.asset_type is AssetType.DOCUMENT


def _prefix_removal(bucket: str, prefix: str) -> Effect:
    return Effect(EffectKind.DELETE_PREFIX, bucket, {"prefix": prefix})


def _rejected(error: RejectedError) -> Commit:
    """End the asset as `rejected`: the input is at fault."""
    notes = [Note("rejected", str(error))]
    return Commit(StageState.REJECTED, Status.REJECTED, code=error.code, detail=error.detail, notes=notes)


def _failed(code: Code, detail: str, error: MediaError) -> Commit:
    """End the asset as `failed`: our side is at fault."""
    return Commit(StageState.FAILED, Status.FAILED, code=code, detail=detail, notes=[Note("failed", str(error))])
