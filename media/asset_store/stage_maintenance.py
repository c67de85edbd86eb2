"""Queries of maintenance: stalled stages, overdue uploads, pending work, outputs without a purpose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from media.asset import Asset, Stage, StageState
from media.asset_store.database import Database, open_connection, postgres_calls
from media.asset_store.rows import RENDITIONS_AS_JSON, asset_of
from media.asset_store.stages import Claim

LOCK = 0x0D0CF120
"""Key of the advisory lock that the one active reconciler holds."""
FIRST_REMINDER = 600
"""Seconds without a change before the first reminder. The wait doubles with each."""
MAX_REMINDERS = 6
"""Reminders before a stage is given up."""
BATCH = 100
"""Stages or assets read in one round."""
PURGED_ROWS = 1000
"""Assets deleted in one round, each with its timeline."""


@dataclass(frozen=True, slots=True)
class StalledStage:
    """A stage that has not changed for too long, for `silent` seconds. `nudges` counts its reminders."""

    asset: Asset
    stage: Stage
    state: StageState
    attempt: int
    job_id: str | None
    nudges: int
    silent: float

    @property
    def claim(self) -> Claim:
        """The claim on the stage as it was found, good until the stage changes."""
        return Claim(self.asset, self.stage, self.attempt, self.attempt, None, self.state, self.job_id)


@dataclass(frozen=True, slots=True)
class PendingWork:
    """Work that is left: outbox rows that are due, and the age in seconds of the oldest unfinished asset."""

    outbox: int
    oldest: float


@asynccontextmanager
async def sole_reconciler(dsn: str) -> AsyncIterator[bool]:
    """Yield whether this process is the one that reconciles, for as long as the context lasts.

    The lock belongs to a dedicated connection: a pool drops session locks when it takes a connection back.
    """
    with postgres_calls():
        connection = await open_connection(dsn, application="media-reconciler")
    try:
        with postgres_calls():
            held = await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK)
        yield bool(held)
    finally:
        connection.terminate()


class StageMaintenance:
    """Queries of the reconciler. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_stalled(
        self, stage: Stage, *, waiting: bool = False, first: float = FIRST_REMINDER
    ) -> list[StalledStage]:
        """Return stages that stand still: queued or with an expired lease; with `waiting`, those that wait for a job.

        One stage at a time: stages that the caller passes over (a backlog, a pause) must not fill a batch and hide
        those of another queue. `first` is the seconds without a change before the first reminder; the wait doubles
        with each.
        """
        states = ["waiting"] if waiting else ["queued", "leased"]
        records = await self._database.fetch(
            "SELECT a.*, s.stage, s.state, s.attempt, s.job_id, s.nudges,"
            " extract(epoch FROM now() - s.updated_at)::float8 AS silent FROM stages s JOIN assets a USING (asset_id)"
            " WHERE s.state = ANY($4::text[]) AND s.stage = $1"
            " AND (s.lease_until IS NULL OR s.lease_until < now())"
            " AND a.status IN ('uploaded', 'scanning', 'processing')"
            " AND coalesce(s.nudge_at, s.updated_at + $2::float8 * interval '1 second') <= now()"
            " ORDER BY s.updated_at LIMIT $3",
            stage,
            first,
            BATCH,
            states,
        )
        return [
            StalledStage(
                asset=asset_of(r),
                stage=Stage(r["stage"]),
                state=StageState(r["state"]),
                attempt=r["attempt"],
                job_id=r["job_id"],
                nudges=r["nudges"],
                silent=r["silent"],
            )
            for r in records
        ]

    async def record_reminder(self, asset_id: UUID, stage: Stage, *, first: float = FIRST_REMINDER) -> None:
        """Record one more reminder. The next one is due after twice the time."""
        await self._database.execute(
            "UPDATE stages SET nudges = nudges + 1,"
            " nudge_at = now() + $3::float8 * 2 ^ (nudges + 1) * interval '1 second'"
            " WHERE asset_id = $1 AND stage = $2",
            asset_id,
            stage,
            first,
        )

    async def overdue(self, seconds: float) -> list[Asset]:
        """Return assets whose upload did not come within `seconds`."""
        records = await self._database.fetch(
            "SELECT * FROM assets WHERE status = 'pending' AND created_at < now() - $1::float8 * interval '1 second'"
            " ORDER BY created_at LIMIT $2",
            seconds,
            BATCH,
        )
        return [asset_of(record) for record in records]

    async def expire(self, asset_id: UUID) -> None:
        """Set an asset to `expired` whose upload never came. Does nothing when it came meanwhile."""
        await self._database.execute(
            "WITH gone AS (UPDATE assets SET status = 'expired', updated_at = now()"
            "   WHERE asset_id = $1 AND status = 'pending' AND version_id IS NULL RETURNING asset_id)"
            " INSERT INTO timeline (asset_id, code) SELECT asset_id, 'expired' FROM gone",
            asset_id,
        )

    async def pending(self) -> PendingWork:
        """Count pending work for the gauges. An outbox row that failed is pending even while it waits for its retry."""
        record = await self._database.fetchrow(
            "SELECT (SELECT count(*) FROM outbox WHERE due_at <= now() OR attempts > 0) AS outbox,"
            " coalesce(extract(epoch FROM now() - (SELECT min(created_at) FROM assets"
            "   WHERE status IN ('uploaded', 'scanning', 'processing'))), 0)::float8 AS oldest"
        )
        return PendingWork(record["outbox"], record["oldest"]) if record else PendingWork(0, 0.0)


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
        status = await self._database.execute(_PURGE_EXPIRED, seconds, PURGED_ROWS)
        return int(status.rpartition(" ")[2])
