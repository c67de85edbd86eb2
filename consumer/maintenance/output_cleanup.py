"""Clears up long after: what a worker wrote that was thought dead, and what is known of uploads that never came."""

from dataclasses import dataclass

import structlog

from consumer.stages.lifecycle import StageLifecycle
from media.asset_store.orphaned_outputs import OrphanedOutputs
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

QUIET_SECONDS = 14_400.0
"""Seconds after a stage's end, by when no worker of an earlier attempt can be at work any more.

A commit is fenced, but what is written before it is not: a process that was frozen for long goes on where it stood.
"""


@dataclass(frozen=True, slots=True)
class OutputCleanup:
    """`retention` is the seconds after which an expired upload is forgotten."""

    leftovers: OrphanedOutputs
    lifecycle: StageLifecycle
    retention: float
    quiet: float = QUIET_SECONDS

    async def sweep(self) -> None:
        """Clear up after stages that ended long ago. One that cannot be is the outbox's from then on, or found again.

        Raises UnavailableError when Postgres or S3 is away.
        """
        for found in await self.leftovers.find_stale(self.quiet):
            try:
                rows = await self.lifecycle.clean_up(found)
                # What is in the outbox will be done: from here on it is tried from there, and not left there once more.
                await self.leftovers.mark_cleaned(found)
                await self.lifecycle.outbox.dispatch(rows)
            except UnavailableError:
                raise
            except Exception:
                log.exception("output_cleanup.failed", asset_id=str(found.asset.asset_id), stage=found.stage)

    async def forget(self) -> None:
        """Forget uploads that never came. Raises UnavailableError when Postgres is away."""
        if forgotten := await self.leftovers.purge_expired(self.retention):
            log.info("output_cleanup.purged", expired=forgotten)
