"""Claim a stage and have it worked on: messages come at least once, effects happen exactly once."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import structlog

from consumer.queue.in_flight import InFlightMessage
from consumer.queue.outcome import DUPLICATE, STALE, SUCCESS, Outcome, OutcomeKind
from consumer.queue.retry import jittered
from consumer.stages.lifecycle import EndKind, StageEnd, StageLifecycle
from media.asset import Stage
from media.asset_store.stages import Claim, Commit, Fence, Note, Refusal, Refused
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
"""Seconds to wait where two workers claimed in the same instant and the other one won."""


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
            return await self._refused(asset_id, claim, message)
        if claim.asset.trace_id:  # its upload's: one trace from the first request to the last rendition
            structlog.contextvars.bind_contextvars(trace_id=claim.asset.trace_id)
        return _outcome(await self._run(claim, message))

    async def _refused(self, asset_id: UUID, refused: Refused, message: InFlightMessage) -> Outcome:
        match refused.reason:
            case Refusal.DONE:
                await self.lifecycle.outbox.dispatch_pending(asset_id)
                return DUPLICATE
            case Refusal.STALE:
                return STALE
            case Refusal.FAILED if message.received.receive_count > 1:
                # Most likely the one whose last attempt it was, and its worker died before it was put away.
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
            with _holding(message, claim.fence):
                commit = await self.handler(claim)
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
        case EndKind.FAILED:  # the message goes where the operator sees it
            return Outcome(OutcomeKind.DEAD, error=end.error, reason=end.reason)
        case EndKind.RETRIED:
            return Outcome(OutcomeKind.RETRY, end.delay, error=end.error, reason=end.reason)
        case EndKind.LOST:
            return Outcome(OutcomeKind.RELEASED, jittered(CONTENDED_DELAY), reason="lease lost")


@contextmanager
def _holding(message: InFlightMessage, fence: Fence) -> Iterator[None]:
    """Have the heartbeat renew this lease together with the message's visibility.

    Not any more once its end is about to be written: a lease that a commit has just ended is not one that was lost.
    """
    message.leases.add(fence)
    try:
        yield
    finally:
        message.leases.discard(fence)
