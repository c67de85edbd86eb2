"""Clears up long after: what a worker wrote that was thought dead, and what is known of uploads that never came."""

from dataclasses import dataclass

import structlog

from media.asset import output_prefix
from media.asset_store.leftovers import Leftovers, Unswept
from media.errors import UnavailableError
from media.outbox import Effect, EffectKind, Outbox

log = structlog.get_logger(__name__)

QUIET = 14_400.0
"""Seconds after a stage's end, by when no worker of an earlier attempt can be at work any more.

A commit is fenced, but what is written before it is not: a process that was frozen for long goes on where it stood.
"""
MOST_PREFIXES = 50
"""Of one stage: attempts are few, but those that an outage ended are not limited."""


@dataclass(frozen=True, slots=True)
class Sweeper:
    """`retention` is the seconds after which an expired upload is forgotten."""

    leftovers: Leftovers
    outbox: Outbox
    output_bucket: str
    retention: float
    quiet: float = QUIET

    async def sweep(self) -> None:
        """Clear up after stages that ended long ago. One that cannot be is the outbox's from then on, or found again.

        Raises UnavailableError when Postgres or S3 is away.
        """
        for found in await self.leftovers.unswept(self.quiet):
            try:
                await self._sweep(found)
            except UnavailableError:
                raise
            except Exception:
                log.exception("sweeper.failed", asset_id=str(found.asset.asset_id), stage=found.stage)

    async def _sweep(self, found: Unswept) -> None:
        """What is in the outbox will be done: what fails is tried again from there, and not left there once more."""
        rows = await self.outbox.leave(found.asset.asset_id, self._effects(found))
        await self.leftovers.swept(found)
        await self.outbox.carry_out(rows)

    async def forget(self) -> None:
        """Forget uploads that never came. Raises UnavailableError when Postgres is away."""
        if forgotten := await self.leftovers.forget_expired(self.retention):
            log.info("sweeper.forgot", expired=forgotten)

    def _effects(self, found: Unswept) -> list[Effect]:
        """Whatever an attempt wrote of which nothing is served goes."""
        served = [rendition.key for rendition in found.asset.renditions]
        attempts = range(max(1, found.attempt - MOST_PREFIXES), found.attempt + 1)
        prefixes = [output_prefix(found.asset, found.stage, attempt) for attempt in attempts]
        return [
            Effect(EffectKind.DELETE_PREFIX, self.output_bucket, {"prefix": prefix})
            for prefix in prefixes
            if not any(key.startswith(prefix) for key in served)
        ]
