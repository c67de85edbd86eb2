"""Removes orphaned outputs, long afterwards."""

from dataclasses import dataclass

import structlog

from consumer.stages.lifecycle import StageLifecycle
from media.asset_store.stage_maintenance import OrphanedOutputs
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

QUIET_SECONDS = 14_400.0
"""Seconds after a stage's end, after which no worker of an earlier attempt can still be writing.

Commits are fenced, but writes to S3 before them are not: a process that was frozen for hours goes on where it stood.
"""


@dataclass(frozen=True, slots=True)
class OutputCleanup:
    """Cleans up after stages that ended."""

    orphans: OrphanedOutputs
    lifecycle: StageLifecycle
    quiet: float = QUIET_SECONDS

    async def clean_up(self) -> None:
        """Remove what earlier attempts of stages that ended long ago wrote. A failure is logged, and tried again.

        Raises UnavailableError when Postgres or S3 is away.
        """
        for found in await self.orphans.find_stale(self.quiet):
            try:
                rows = await self.lifecycle.clean_up(found)
                # The outbox repeats what fails from here on: it must not be enqueued a second time.
                await self.orphans.mark_cleaned(found)
                await self.lifecycle.outbox.dispatch(rows)
            except UnavailableError:
                raise
            except Exception:
                log.exception("output_cleanup.failed", asset_id=str(found.asset.asset_id), stage=found.stage)
