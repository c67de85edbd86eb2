"""Find outputs that no longer serve a purpose, and rows of uploads that never came."""

from dataclasses import dataclass

from media.asset import Asset, Stage
from media.asset_store.database import Database
from media.asset_store.rows import RENDITIONS_AS_JSON, asset_of

BATCH = 100
"""Stages read in one round."""
ROWS = 1000
"""Assets deleted in one round, each with its timeline."""

_FIND_STALE = (
    "SELECT a.*, s.stage, s.attempt, "
    + RENDITIONS_AS_JSON
    + """ AS renditions
FROM stages s JOIN assets a USING (asset_id)
WHERE s.attempt > 1 AND (s.swept_at IS NULL OR s.swept_at < s.updated_at)
  AND s.updated_at < now() - $1::float8 * interval '1 second'
  AND s.state IN ('done', 'rejected', 'failed', 'cancelled')
ORDER BY s.updated_at LIMIT $2
"""
)
_PURGE_EXPIRED = """
DELETE FROM assets WHERE asset_id IN (
    SELECT asset_id FROM assets a
    WHERE status = 'expired' AND updated_at < now() - $1::float8 * interval '1 second'
      AND NOT EXISTS (SELECT FROM outbox o WHERE o.asset_id = a.asset_id)
    ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class StaleStage:
    """A stage that ended after more than one attempt. The asset comes with its renditions."""

    asset: Asset
    stage: Stage
    attempt: int


class OrphanedOutputs:
    """Queries of the clean-up. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_stale(self, seconds: float) -> list[StaleStage]:
        """Return stages that ended at least `seconds` ago and whose earlier attempts were not cleaned up since."""
        records = await self._database.fetch(_FIND_STALE, seconds, BATCH)
        return [StaleStage(asset_of(record), Stage(record["stage"]), record["attempt"]) for record in records]

    async def mark_cleaned(self, found: StaleStage) -> None:
        """Record that the stage was cleaned up. It is found again only when another round changes it."""
        await self._database.execute(
            "UPDATE stages SET swept_at = now() WHERE asset_id = $1 AND stage = $2 AND attempt = $3",
            found.asset.asset_id,
            found.stage,
            found.attempt,
        )

    async def purge_expired(self, seconds: float) -> int:
        """Delete uploads that never came and expired at least `seconds` ago; returns how many."""
        status = await self._database.execute(_PURGE_EXPIRED, seconds, ROWS)
        return int(status.rpartition(" ")[2])
