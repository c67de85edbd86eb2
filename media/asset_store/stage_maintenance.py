"""Queries of maintenance: stalled stages, overdue uploads, pending work, outputs without a purpose."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from media.asset import Asset, Stage, StageState
from media.asset_store.database import Database
from media.asset_store.rows import IS_IN_PROGRESS, RENDITIONS_AS_JSON, asset_of
from media.asset_store.stages import Claim

LEASE = 60.0
"""Seconds for which a daemon is the reconciler, from each of its steps on. Two at once would only remind twice."""
FIRST_REMINDER = 600
"""Seconds without a change before the first reminder. The wait doubles with each."""
MAX_REMINDERS = 6
"""Reminders before a stage is given up."""
COUNTED = 1000
"""Most outbox rows that are counted, due ones and failed ones each."""
BATCH = 100
"""Stages or assets read in one round."""


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


def _find_stalled(states: Sequence[StageState]) -> str:
    """Return the search for stages in one of `states`. Each part reads from an index until it has found enough.

    The states are literals, so that every plan may use the indexes that are for unfinished stages alone.
    """
    due = {
        "updated_at": "s.nudge_at IS NULL AND s.updated_at <= now() - $2::float8 * interval '1 second'",
        "nudge_at": "s.nudge_at <= now()",
    }
    parts = [
        f"(SELECT * FROM stages s WHERE s.stage = $1 AND s.state = '{state.value}' AND {condition}"
        f" AND (s.lease_until IS NULL OR s.lease_until < now()) AND {IS_IN_PROGRESS}"
        f" ORDER BY s.{order} LIMIT {BATCH})"
        for state in states
        for order, condition in due.items()
    ]
    return (
        "SELECT a.*, s.stage, s.state, s.attempt, s.job_id, s.nudges,"
        " extract(epoch FROM now() - s.updated_at)::float8 AS silent"
        f" FROM ({' UNION ALL '.join(parts)}) AS s JOIN assets a USING (asset_id) ORDER BY s.updated_at LIMIT {BATCH}"
    )


# Counted as far as it matters to a gauge.
_PENDING = f"""
SELECT (SELECT count(*) FROM (
            (SELECT FROM outbox WHERE due_at <= now() LIMIT {COUNTED})
            UNION ALL (SELECT FROM outbox WHERE attempts > 0 AND due_at > now()
                                            AND (kind <> 'change_delivery' OR error IS NOT NULL) LIMIT {COUNTED})
            ) AS rows) AS outbox,
       coalesce(extract(epoch FROM now() - least(
            (SELECT min(created_at) FROM assets WHERE status = 'uploaded'),
            (SELECT min(created_at) FROM assets WHERE status = 'scanning'),
            (SELECT min(created_at) FROM assets WHERE status = 'processing'))), 0)::float8 AS oldest
"""
_LEASE = """
INSERT INTO leases AS l (name, holder, until) VALUES ($1, $2, now() + $3::float8 * interval '1 second')
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE l.holder = excluded.holder OR l.until <= now() RETURNING name
"""


class StageMaintenance:
    """Queries of the reconciler. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease(self, holder: str) -> bool:
        """Take or extend the reconciler's lease. A session's lock would outlive its daemon behind a pooler."""
        return await self._database.fetchval(_LEASE, "reconciler", holder, LEASE) is not None

    async def release(self, holder: str) -> None:
        """Give the reconciler's lease back."""
        await self._database.execute("DELETE FROM leases WHERE name = 'reconciler' AND holder = $1", holder)

    async def find_stalled(
        self, stage: Stage, *, waiting: bool = False, first: float = FIRST_REMINDER
    ) -> list[StalledStage]:
        """Return stages that stand still: queued or with an expired lease; with `waiting`, those that wait for a job.

        One stage at a time: stages that the caller passes over (a backlog, a pause) must not fill a batch and hide
        those of another queue. `first` is the seconds without a change before the first reminder; the wait doubles
        with each.
        """
        states = [StageState.WAITING] if waiting else [StageState.QUEUED, StageState.LEASED]
        records = await self._database.fetch(_find_stalled(states), stage, first)
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
            f" ORDER BY created_at, asset_id LIMIT {BATCH}",
            seconds,
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
        """Count pending work for the gauges, outbox rows up to some COUNTED.

        A row that failed is pending even while it waits for its retry.
        """
        record = await self._database.fetchrow(_PENDING)
        return PendingWork(record["outbox"], record["oldest"]) if record else PendingWork(0, 0.0)


_FIND_STALE = (
    "SELECT a.*, s.stage, s.attempt, "
    + RENDITIONS_AS_JSON
    + """ AS renditions
FROM stages s JOIN assets a USING (asset_id)
WHERE s.attempt > 1 AND (s.swept_at IS NULL OR s.swept_at < s.updated_at)
  AND s.updated_at < now() - $1::float8 * interval '1 second'
  AND s.state IN ('done', 'rejected', 'failed', 'cancelled')
ORDER BY s.updated_at LIMIT """
    + str(BATCH)
)


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
        records = await self._database.fetch(_FIND_STALE, seconds)
        return [StaleStage(asset_of(record), Stage(record["stage"]), record["attempt"]) for record in records]

    async def mark_cleaned(self, found: StaleStage) -> None:
        """Record that the stage was cleaned up. It is found again only when another round changes it."""
        await self._database.execute(
            "UPDATE stages SET swept_at = now() WHERE asset_id = $1 AND stage = $2 AND attempt = $3",
            found.asset.asset_id,
            found.stage,
            found.attempt,
        )
