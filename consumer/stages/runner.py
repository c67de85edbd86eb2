"""Claims stages and runs their handlers: messages come at least once, effects happen exactly once."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import DUPLICATE, STALE, SUCCESS, Outcome, OutcomeKind
from consumer.queue.retry import jittered
from consumer.stages.lifecycle import EndKind, StageEnd, StageLifecycle
from media.asset import Stage
from media.asset_store.stages import Claim, Commit, Note, Refusal, Refused
from media.errors import (
    Code,
    FailedError,
    LeaseLostError,
    RejectedError,
    RetryableError,
    UnavailableError,
    UndecodableError,
)

log = structlog.get_logger(__name__)

StageHandler = Callable[[Claim], Awaitable[Commit]]
"""Works on a claimed stage and returns what to commit. Knows no queue and writes nothing."""

CONTENDED_DELAY = 5.0
"""Seconds for which a message is released when two workers claimed at the same moment and the other one won."""


@dataclass(frozen=True, slots=True)
class StageRunner:
    """Runs the handler of one stage under a claim."""

    stage: Stage
    handler: StageHandler
    lifecycle: StageLifecycle

    async def run(self, asset_id: UUID, version_id: str, message: InFlightMessage) -> Outcome:
        """Serve one message's request for this stage. Raises UnavailableError and UndecodableError."""
        structlog.contextvars.bind_contextvars(asset_id=str(asset_id))
        stages, lease = self.lifecycle.stages, self.lifecycle.lease
        sent = message.received.sent or math.inf
        claim = await stages.claim(asset_id, self.stage, version_id=version_id, lease=lease, asked_at=sent)
        if isinstance(claim, Refused):
            return await self._outcome_of_refusal(asset_id, claim, message)
        if claim.asset.trace_id:  # one trace from the upload's first request to the last rendition
            structlog.contextvars.bind_contextvars(trace_id=claim.asset.trace_id)
        return _outcome(await self._run(claim, message))

    async def _outcome_of_refusal(self, asset_id: UUID, refused: Refused, message: InFlightMessage) -> Outcome:
        match refused.reason:
            case Refusal.DONE:
                await self.lifecycle.outbox.dispatch_pending(asset_id)
                return DUPLICATE
            case Refusal.STALE:
                return STALE
            case Refusal.FAILED if message.received.receive_count > 1:
                # Most likely this message had the last attempt, and its worker died before it was dead-lettered.
                return Outcome(OutcomeKind.DEAD, error=Code.ATTEMPTS_EXHAUSTED, reason="the stage has failed")
            case Refusal.FAILED:
                return DUPLICATE
            case Refusal.BUSY:
                return Outcome(
                    OutcomeKind.RELEASED, jittered(refused.remaining or CONTENDED_DELAY), reason="leased by another"
                )
            case Refusal.UNKNOWN:
                raise UndecodableError(f"no such asset or stage: {asset_id} {self.stage}", Code.UNKNOWN_ASSET)

    async def _run(self, claim: Claim, message: InFlightMessage) -> StageEnd:
        try:
            self.lifecycle.rules.check_attempts(claim)
            # The heartbeat renews the lease together with the message, until the end of the stage is about to be
            # written: a lease that a commit has just ended is not lost.
            message.leases.add(claim.fence)
            try:
                commit = await self.handler(claim)
            finally:
                message.leases.discard(claim.fence)
        except (RejectedError, RetryableError, FailedError) as error:
            return await self.lifecycle.fail(claim, error)
        except UnavailableError as error:
            await self.lifecycle.release(claim, Note("unavailable", str(error)))
            raise
        except LeaseLostError:
            return await self.lifecycle.abandon(claim)
        except asyncio.CancelledError:
            await self.lifecycle.interrupt(claim)
            raise
        except Exception as error:
            log.exception("stage.unforeseen", stage=self.stage)
            return await self.lifecycle.fail(claim, RetryableError(Code.UNFORESEEN, repr(error)))
        return await self.lifecycle.finish(claim, commit)


def _outcome(end: StageEnd) -> Outcome:
    """Return what becomes of the message that asked for a stage that ended like this."""
    match end.kind:
        case EndKind.COMMITTED:
            return SUCCESS
        case EndKind.REJECTED:
            return Outcome(OutcomeKind.REJECTED, error=end.error)
        case EndKind.FAILED:  # dead-lettered, where the operator sees it
            return Outcome(OutcomeKind.DEAD, error=end.error, reason=end.reason)
        case EndKind.RETRIED:
            return Outcome(OutcomeKind.RETRY, end.delay, error=end.error, reason=end.reason)
        case EndKind.LOST:
            return Outcome(OutcomeKind.RELEASED, jittered(CONTENDED_DELAY), reason="lease lost")
