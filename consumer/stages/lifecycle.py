"""Ends stages: writes the commit, counts it, and dispatches its effects.

`media/stage_endings.py` decides what is written. Handlers, job events, the reconciler and the clean-up of old
outputs all end their stages here.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog

from consumer.queue.retry import RetryPolicy
from consumer.stages.objectives import AssetEnd, count_end
from media.asset import StageState, Status
from media.asset_store.assets import AssetStore
from media.asset_store.stage_maintenance import StaleStage, StalledStage
from media.asset_store.stages import Claim, Commit, Fence, Note, StageStore
from media.errors import Code, Dependency, LeaseLostError, MediaError, RejectedError, RetryableError, UnavailableError
from media.outbox import Outbox, OutboxRow
from media.stage_endings import EndingRules
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

RELEASE_TIMEOUT = 3.0
"""Seconds for giving a lease back while being canceled."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds between two tries to write to a Postgres that is away."""
LONGEST_OUTAGE = 900.0
"""Seconds for which the end of a stage waits for Postgres, its message held: a failover or a locked table takes less.

A lease that ran out meanwhile is given back uncounted, which a worker that stopped waiting could not do.
"""


class EndKind(StrEnum):
    """How an attempt ended."""

    COMMITTED = "committed"
    REJECTED = "rejected"
    FAILED = "failed"
    RETRIED = "retried"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class StageEnd:
    """How an attempt ended. `delay` is seconds until the same message tries again; `error` is a code."""

    kind: EndKind
    delay: float = 0.0
    error: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StageLifecycle:
    """Ends stages. `lease` is the seconds for which a worker holds one; `hand_over` takes requests of the next stage.

    Every method raises UnavailableError when Postgres, or what an effect needs, is away.
    """

    assets: AssetStore
    stages: StageStore
    outbox: Outbox
    metrics: Metrics
    rules: EndingRules
    retry: RetryPolicy
    lease: float
    hand_over: Callable[[OutboxRow], bool] = lambda _row: False

    async def finish(self, claim: Claim, commit: Commit) -> StageEnd:
        """Commit what a handler made of a claim."""
        return await self._commit(claim, self.rules.finish(claim, commit))

    async def fail(self, claim: Claim, error: MediaError) -> StageEnd:
        """End an attempt that failed: the stage is tried again, or its asset is rejected or fails."""
        failure = self.rules.fail(claim, error)
        if failure.counts:
            self.metrics.failures.labels(claim.stage, error.code).inc()
        if failure.commit is None:
            return await self._retry(claim, error)
        if failure.commit.status is Status.REJECTED and not isinstance(error, RejectedError):
            log.error("stage.blamed_on_input", stage=claim.stage, code=failure.commit.code, detail=str(error))
        end = await self._commit(claim, failure.commit)
        return replace(end, error=error.code, reason=str(error)) if end.kind is EndKind.FAILED else end

    async def _retry(self, claim: Claim, error: MediaError) -> StageEnd:
        """Release the stage, so that the same message tries again after a delay."""
        asked = error if isinstance(error, RetryableError) else None
        delay = asked.retry_after if asked and asked.retry_after is not None else self.retry.delay(claim.tries)
        log.warning("stage.retry", stage=claim.stage, code=error.code, detail=error.detail, delay=round(delay, 1))
        note = Note("retry", f"{error}; next in {delay:.0f} s")
        forgive = asked is not None and not asked.counts_as_attempt
        await self._outlast_postgres(claim, lambda: self.stages.release(claim.fence, note, forgive=forgive))
        return StageEnd(EndKind.RETRIED, delay, error.code, error.detail)

    async def release(self, claim: Claim, note: Note) -> None:
        """Give a claim back because something else is away; the attempt does not count."""
        try:
            await self._outlast_postgres(claim, lambda: self.stages.release(claim.fence, note, forgive=True))
        except UnavailableError as error:
            log.warning("stage.not_released", stage=claim.stage, error=str(error))

    async def interrupt(self, claim: Claim) -> None:
        """Release a claim within seconds while being canceled, so that the next worker need not wait."""
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await self.stages.release(claim.fence, Note("interrupted"), forgive=True)
        except (TimeoutError, UnavailableError) as error:
            log.warning("stage.not_released", stage=claim.stage, error=str(error))

    async def abandon(self, claim: Claim) -> StageEnd:
        """Clean up after an attempt whose lease was lost; the message stays for the worker that holds the stage now.

        Where none does (the lease ran out in an outage), the stage is free at once and the attempt does not count.
        """
        if claim.state is StageState.LEASED:
            log.warning("stage.lease_lost", stage=claim.stage, attempt=claim.attempt)
            await self.stages.release(claim.fence, forgive=True)
            detail = f"{claim.stage} attempt {claim.attempt}"
            await self.assets.note(claim.asset.asset_id, "lease_lost", detail, self.rules.abandon(claim))
        return StageEnd(EndKind.LOST)

    async def fail_stalled(self, stalled: StalledStage) -> bool:
        """Give up a stage that no reminder could move. False when it has moved meanwhile, and so does not fail."""
        claim = stalled.claim
        fence = replace(claim.fence, lease_over=True)
        try:
            rows = await self._write(claim, fence, self.rules.fail_stalled(claim))
        except LeaseLostError:
            return False
        self.metrics.failures.labels(claim.stage, Code.STALLED).inc()
        await self.outbox.dispatch(rows)
        return True

    async def clean_up(self, stage: StaleStage) -> list[OutboxRow]:
        """Leave to the outbox the removal of what attempts wrote of which nothing is served; return its rows."""
        served = [rendition.key for rendition in stage.asset.renditions]
        effects = self.rules.orphaned_outputs(stage.asset, stage.stage, stage.attempt, served)
        return await self.outbox.enqueue(stage.asset.asset_id, effects)

    async def _commit(self, claim: Claim, commit: Commit) -> StageEnd:
        """Write a commit and dispatch what it left in the outbox."""
        try:
            rows = await self._write(claim, claim.fence, commit)
        except LeaseLostError:
            return await self.abandon(claim)
        if commit.state is not StageState.FAILED or claim.state is not StageState.LEASED:
            await self.outbox.dispatch([row for row in rows if not self.hand_over(row)])
        # Else the clean-up waits for the sweep: if it fails now, the message dies without the reason of the failure.
        match commit.state:
            case StageState.FAILED:
                return StageEnd(EndKind.FAILED, error=commit.code or "", reason=commit.detail or "")
            case StageState.REJECTED:
                return StageEnd(EndKind.REJECTED, error=commit.code or "")
            case _:
                return StageEnd(EndKind.COMMITTED)

    async def _write(self, claim: Claim, fence: Fence, commit: Commit) -> Sequence[OutboxRow]:
        """Write a commit across an outage of Postgres, and count it. Raises LeaseLostError.

        The answer to an earlier try may have been lost with the connection. Then the stage has left our lease under our
        own attempt, and what the commit left in the outbox is dispatched from there.
        """
        asset_id = claim.asset.asset_id
        try:
            rows: Sequence[OutboxRow] = await self._outlast_postgres(claim, lambda: self.stages.commit(fence, commit))
        except LeaseLostError:
            row = await self.stages.get(asset_id, claim.stage) if claim.state is StageState.LEASED else None
            if fence.lease_over or row is None or (row.attempt, row.state) != (claim.attempt, commit.state):
                raise
            rows = await self.outbox.pending_of(asset_id)
        log.info("stage.committed", stage=claim.stage, state=commit.state, status=commit.status, code=commit.code)
        if commit.state is not StageState.WAITING:
            end = AssetEnd(claim.stage, commit.status, commit.code or "", commit.facts.duration_ms)
            count_end(self.metrics, claim.asset, end)
        for (engine, kind), seconds in commit.billed_seconds.items():
            self.metrics.transcoded.labels(engine, kind).inc(seconds)
        return rows

    async def _outlast_postgres[T](self, claim: Claim, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat `call` while Postgres is away, for LONGEST_OUTAGE at most; then raise what it raises.

        To give up would leave the lease to run out, and cost an attempt that did nothing wrong. Where no lease is held
        the event is delivered again, and waiting gains nothing.
        """
        longest = LONGEST_OUTAGE if claim.state is StageState.LEASED else 0.0
        deadline, pause = time.monotonic() + longest, FIRST_PAUSE
        while True:
            try:
                return await call()
            except UnavailableError as error:
                if error.dependency is not Dependency.POSTGRES or time.monotonic() + pause > deadline:
                    raise
                log.warning("stage.waits_for_postgres", stage=claim.stage, error=error.detail)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
