"""Claims a stage, has it worked on, and commits what came of it: delivery at least once, effects exactly once."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from consumer.deliveries import Delivery
from consumer.outcomes import DUPLICATE, STALE, SUCCESS, Kind, Outcome
from consumer.retry import RetryPolicy, jittered
from media.asset import NEXT_STAGE, Stage, StageState, Status, output_prefix
from media.asset_store.assets import AssetStore
from media.asset_store.stages import Claim, Commit, Fence, Note, Refusal, Refused, StageStore
from media.errors import (
    Code,
    Dependency,
    LeaseLostError,
    RejectedError,
    RetryableError,
    UnavailableError,
    UndecodableError,
)
from media.objectives import End, count_end
from media.outbox import Effect, EffectKind, Outbox, OutboxRow
from media.telemetry import Metrics

log = structlog.get_logger(__name__)

StageHandler = Callable[[Claim], Awaitable[Commit]]
"""Works on a claimed stage and returns what to commit. Knows no queue."""

RELEASE_TIMEOUT = 3.0
"""Seconds for giving a lease back while being cancelled."""
CONTENDED_DELAY = 5.0
"""Seconds to wait where two workers claimed in the same instant and the other one won."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds between two tries to tell a Postgres that is away what came of a stage."""


@dataclass(frozen=True, slots=True)
class StageRunner:
    """Runs the handler of one stage under a claim."""

    stage: Stage
    handler: StageHandler
    assets: AssetStore
    stages: StageStore
    outbox: Outbox
    retry: RetryPolicy
    metrics: Metrics
    lease: float
    output_bucket: str

    async def run(self, asset_id: UUID, version_id: str, delivery: Delivery) -> Outcome:
        """One message's request for this stage. Raises UnavailableError and UndecodableError."""
        structlog.contextvars.bind_contextvars(asset_id=str(asset_id))
        sent = delivery.received.sent or math.inf
        claim = await self.stages.claim(asset_id, self.stage, version_id=version_id, lease=self.lease, asked_at=sent)
        if isinstance(claim, Refused):
            return await self._refused(asset_id, claim, delivery)
        if claim.asset.trace_id:  # its upload's: one trace from the first request to the last rendition
            structlog.contextvars.bind_contextvars(trace_id=claim.asset.trace_id)
        return await self._run(claim, delivery)

    async def _refused(self, asset_id: UUID, refused: Refused, delivery: Delivery) -> Outcome:
        match refused.reason:
            case Refusal.DONE:
                await self.outbox.carry_out_of(asset_id)
                return DUPLICATE
            case Refusal.STALE:
                return STALE
            case Refusal.FAILED if delivery.received.receive_count > 1:
                # Most likely the one whose last attempt it was, and its worker died before it was put away.
                return Outcome(Kind.DEAD, error=Code.ATTEMPTS_EXHAUSTED, reason="the stage has failed")
            case Refusal.FAILED:
                return DUPLICATE
            case Refusal.BUSY:
                return Outcome(
                    Kind.RELEASED, jittered(refused.remaining or CONTENDED_DELAY), reason="leased by another"
                )
            case Refusal.UNKNOWN:
                raise UndecodableError(f"no such asset or stage: {asset_id} {self.stage}", Code.UNKNOWN_ASSET)

    async def _run(self, claim: Claim, delivery: Delivery) -> Outcome:
        if claim.tries > self.retry.attempts:  # those before it died without a word
            self.metrics.failures.labels(self.stage, Code.WORKER_CRASHED).inc()
            return await self._fail(claim, RetryableError(Code.WORKER_CRASHED, "every attempt ended without a result"))
        try:
            with _holding(delivery, claim.fence):
                commit = await self.handler(claim)
        except RejectedError as error:
            commit = rejection(error)
        except RetryableError as error:
            return await self._retry(claim, error)
        except UnavailableError as error:
            await self._release(claim, Note("unavailable", str(error)))
            raise
        except LeaseLostError:
            return await self._lost(claim)
        except asyncio.CancelledError:
            await self._interrupted(claim)
            raise
        except Exception as error:
            log.exception("stage.unforeseen", stage=self.stage)
            return await self._retry(claim, RetryableError(Code.UNFORESEEN, repr(error)))
        return await self._commit(claim, commit)

    async def _commit(self, claim: Claim, commit: Commit) -> Outcome:
        swept = list(commit.effects)
        if commit.state is not StageState.WAITING:  # a job that an earlier attempt submitted may still be writing
            swept += self._abandoned(claim, claim.attempt - (commit.state is StageState.DONE))
        try:
            rows = await self._committed(claim, replace(commit, effects=swept))
        except LeaseLostError:
            return await self._lost(claim)
        log.info("stage.committed", stage=self.stage, state=commit.state, status=commit.status, code=commit.code)
        if commit.state is not StageState.WAITING:
            self._count(claim, commit)
        await self.outbox.carry_out(rows)
        return Outcome(Kind.REJECTED, error=commit.code or "") if commit.status is Status.REJECTED else SUCCESS

    async def _retry(self, claim: Claim, error: RetryableError) -> Outcome:
        if error.counted:
            self.metrics.failures.labels(self.stage, error.code).inc()
            if self.retry.exhausted(claim.tries):
                return await self._end(claim, error)
        delay = error.after if error.after is not None else self.retry.delay(claim.tries)
        log.warning("stage.retry", stage=self.stage, code=error.code, detail=error.detail, delay=round(delay, 1))
        note = Note("retry", f"{error}; next in {delay:.0f} s")
        await self._patiently(lambda: self.stages.release(claim.fence, note, forgive=not error.counted))
        return Outcome(Kind.RETRY, delay, error=error.code, reason=error.detail)

    async def _end(self, claim: Claim, error: RetryableError) -> Outcome:
        """Attempts are exhausted: by the input's fault where nothing else can be at fault, else by ours."""
        if error.at_last is None:
            return await self._fail(claim, error)
        log.error("stage.blamed_on_input", stage=self.stage, code=error.at_last, detail=str(error))
        return await self._commit(claim, rejection(RejectedError(error.at_last, str(error))))

    async def _fail(self, claim: Claim, error: RetryableError) -> Outcome:
        """Attempts are exhausted: the asset fails, and the message goes where the operator sees it."""
        commit = Commit(
            StageState.FAILED,
            Status.FAILED,
            code=Code.ATTEMPTS_EXHAUSTED,
            detail=str(error),
            notes=[Note("failed", str(error))],
            effects=self._abandoned(claim, claim.attempt),
        )
        try:
            await self._committed(claim, commit)
        except LeaseLostError:
            return await self._lost(claim)
        self._count(claim, commit)
        return Outcome(Kind.DEAD, error=error.code, reason=str(error))

    def _count(self, claim: Claim, commit: Commit) -> None:
        end = End(self.stage, commit.status, commit.code or "", commit.facts.duration_ms)
        count_end(self.metrics, claim.asset, end)

    async def _committed(self, claim: Claim, commit: Commit) -> Sequence[OutboxRow]:
        """Commit, across an outage of Postgres too. Raises LeaseLostError, and UnavailableError when it lasts.

        The answer to an earlier try may have been lost with the connection: then the stage has left our lease under
        our own attempt, and what the commit left in the outbox is carried out from there.
        """
        try:
            return await self._patiently(lambda: self.stages.commit(claim.fence, commit))
        except LeaseLostError:
            row = await self.stages.get(claim.asset.asset_id, self.stage)
            if row is None or (row.attempt, row.state) != (claim.attempt, commit.state):
                raise
        await self.outbox.carry_out_of(claim.asset.asset_id)
        return []

    async def _patiently[T](self, call: Callable[[], Awaitable[T]]) -> T:
        """`call`, again and again while Postgres is away, for as long as a lease lasts; then what it raises.

        To let go at once would leave the lease to run out and cost an attempt that did nothing wrong.
        """
        deadline, pause = time.monotonic() + self.lease, FIRST_PAUSE
        while True:
            try:
                return await call()
            except UnavailableError as error:
                if error.dependency is not Dependency.POSTGRES or time.monotonic() + pause > deadline:
                    raise
                log.warning("stage.waits_for_postgres", stage=self.stage, error=error.detail)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _lost(self, claim: Claim) -> Outcome:
        """The commit was refused. What was written goes; the message stays for whoever holds the stage now.

        Where nobody does (the lease ran out in an outage), the stage is free at once and the attempt does not count.
        A transcode's outputs stay: its job may have been adopted by the next attempt, and its events clear up.
        """
        log.warning("stage.lease_lost", stage=self.stage, attempt=claim.attempt)
        await self.stages.release(claim.fence, forgive=True)
        swept = self._writes(claim) and self.stage is not Stage.TRANSCODE
        effects = [self._prefix(claim, claim.attempt)] if swept else []
        await self.assets.note(claim.asset.asset_id, "lease_lost", f"{self.stage} attempt {claim.attempt}", effects)
        return Outcome(Kind.RELEASED, jittered(CONTENDED_DELAY), reason="lease lost")

    async def _interrupted(self, claim: Claim) -> None:
        """Cancelled: give the lease back, so that the next worker need not wait for its end."""
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await self.stages.release(claim.fence, Note("interrupted"), forgive=True)
        except (TimeoutError, UnavailableError) as error:
            log.warning("stage.not_released", stage=self.stage, error=str(error))

    async def _release(self, claim: Claim, note: Note) -> None:
        """Something else is away; the attempt does not count."""
        try:
            await self._patiently(lambda: self.stages.release(claim.fence, note, forgive=True))
        except UnavailableError as error:
            log.warning("stage.not_released", stage=self.stage, error=str(error))

    def _abandoned(self, claim: Claim, last: int) -> list[Effect]:
        """Whatever attempts 1 to `last` wrote."""
        if not self._writes(claim):
            return []
        return [self._prefix(claim, attempt) for attempt in range(max(1, last - 20), last + 1)]

    def _writes(self, claim: Claim) -> bool:
        """Whether attempts leave files behind; a scan does for documents only."""
        return self.stage is not Stage.SCAN or NEXT_STAGE[claim.asset.asset_type] is None

    def _prefix(self, claim: Claim, attempt: int) -> Effect:
        prefix = output_prefix(claim.asset, self.stage, attempt)
        return Effect(EffectKind.DELETE_PREFIX, self.output_bucket, {"prefix": prefix})


def rejection(error: RejectedError) -> Commit:
    """What is committed when the input is at fault."""
    return Commit(
        StageState.REJECTED,
        Status.REJECTED,
        code=error.code,
        detail=error.detail,
        notes=[Note("rejected", str(error))],
    )


@contextmanager
def _holding(delivery: Delivery, fence: Fence) -> Iterator[None]:
    """The heartbeat renews this lease together with the message's visibility.

    Not any more once its end is about to be written: a lease that a commit has just ended is not one that was lost.
    """
    delivery.fences.add(fence)
    try:
        yield
    finally:
        delivery.fences.discard(fence)
