"""Claims stages and runs their handlers: messages come at least once, effects happen exactly once."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from consumer.queue.in_flight import HOLD_LIMIT, InFlightMessage
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
LONGEST_BUSY_DELAY = 3 * 3600.0
"""Seconds for which a second copy of a message is released at most, while another worker holds its stage."""
LAST_RECEIVES = 17
"""Receives of a message, from which on it is released for as long as a worker may hold the stage (HOLD_LIMIT)."""


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
            message.earlier_trace = claim.asset.trace_id
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
                delay = busy_delay(refused.remaining, self.lifecycle.lease, message.received.receive_count)
                return Outcome(OutcomeKind.RELEASED, delay, reason="leased by another")
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


def busy_delay(remaining: float, lease: float, receives: int) -> float:
    """Return for how long a message waits whose stage another worker holds, for `remaining` seconds more.

    A living worker renews its lease well before half of it has passed. It has a copy of this message itself, so this
    one may wait long: the delay doubles with each receive, lest SQS moves it to the dead letters after 20 receives.
    A lease that was not renewed has lost its worker, and this message may be the only one left.
    """
    if remaining <= lease / 2:
        return jittered(remaining or CONTENDED_DELAY)
    if receives >= LAST_RECEIVES:
        return HOLD_LIMIT
    return max(jittered(remaining), min(LONGEST_BUSY_DELAY, lease * 2.0 ** (receives - 1)))


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
