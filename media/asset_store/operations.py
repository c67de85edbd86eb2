"""An operator's view: which consumers are alive, what is the oldest work, what is stuck."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from media.asset_store.database import Database
from media.asset_store.rows import IS_IN_PROGRESS

REPORT_INTERVAL = 10.0
"""Seconds between two reports of a consumer."""
ALIVE_SECONDS = 30.0
"""Seconds without a report after which a consumer counts as dead: three were missed."""
LISTED_FOR = 900.0
"""Seconds for which a consumer that stopped reporting stays listed, so that operators find it after an alert."""
FORGOTTEN_AFTER = 3600.0
"""Seconds after which the row of a consumer is deleted that was killed, and so could not delete it itself."""
STUCK_SECONDS = 600.0
"""Seconds without a change after which an unfinished stage counts as stuck. The first reminder comes then."""
STUCK_LIMIT = 50
"""Most stuck stages that are listed."""


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """One report of a consumer. `in_flight` counts held messages, `open_breakers` names dependencies that are down."""

    consumer_id: str
    phase: str
    open_breakers: Sequence[str]
    in_flight: int


@dataclass(frozen=True, slots=True)
class KnownConsumer:
    """A consumer as it last reported, `seconds` ago."""

    consumer_id: str
    started_at: datetime
    seen_at: datetime
    seconds: float
    phase: str
    open_breakers: Sequence[str]
    in_flight: int

    @property
    def alive(self) -> bool:
        return self.seconds <= ALIVE_SECONDS


@dataclass(frozen=True, slots=True)
class UnfinishedAsset:
    """An asset that is neither ready nor given up; `seconds` is its age."""

    asset_id: UUID
    asset_type: str
    status: str
    created_at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class StuckStage:
    """A stage without a change for STUCK_SECONDS or more; `seconds` is for how long."""

    asset_id: UUID
    asset_type: str
    status: str
    stage: str
    state: str
    attempt: int
    nudges: int
    seconds: float


class Operations:
    """Presence and progress. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, status: ConsumerStatus) -> None:
        """Record that a consumer is alive. Deletes those that were silent for FORGOTTEN_AFTER seconds."""
        await self._database.execute(
            "WITH forgotten AS (DELETE FROM consumers WHERE seen_at < now() - $5::float8 * interval '1 second'"
            "   AND id <> $1)"
            " INSERT INTO consumers (id, phase, open_breakers, in_flight) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (id) DO UPDATE SET seen_at = now(), phase = excluded.phase,"
            "   open_breakers = excluded.open_breakers, in_flight = excluded.in_flight",
            status.consumer_id,
            status.phase,
            list(status.open_breakers),
            status.in_flight,
            FORGOTTEN_AFTER,
        )

    async def unregister(self, consumer_id: str) -> None:
        """Delete the row of a consumer that ends in order."""
        await self._database.execute("DELETE FROM consumers WHERE id = $1", consumer_id)

    async def consumers(self) -> list[KnownConsumer]:
        """Return the consumers that reported within LISTED_FOR seconds, oldest first."""
        records = await self._database.fetch(
            "SELECT id AS consumer_id, started_at, seen_at, phase, open_breakers, in_flight,"
            " extract(epoch FROM now() - seen_at)::float8 AS seconds FROM consumers"
            " WHERE seen_at > now() - $1::float8 * interval '1 second' ORDER BY started_at, id",
            LISTED_FOR,
        )
        return [KnownConsumer(**dict(r)) for r in records]

    async def open_circuits(self, *, besides: str) -> set[str]:
        """Return the dependencies that some live consumer found down.

        `besides` is the consumer that asks: it knows better than its own row.
        """
        records = await self._database.fetch(
            "SELECT DISTINCT unnest(open_breakers) AS name FROM consumers"
            " WHERE seen_at > now() - $1::float8 * interval '1 second' AND id <> $2",
            ALIVE_SECONDS,
            besides,
        )
        return {record["name"] for record in records}

    async def oldest(self) -> UnfinishedAsset | None:
        """Return the oldest asset that was uploaded and has not ended."""
        r = await self._database.fetchrow(
            "SELECT asset_id, asset_type, status, created_at, extract(epoch FROM now() - created_at)::float8 AS seconds"
            " FROM ((SELECT * FROM assets WHERE status = 'uploaded' ORDER BY created_at LIMIT 1)"
            " UNION ALL (SELECT * FROM assets WHERE status = 'scanning' ORDER BY created_at LIMIT 1)"
            " UNION ALL (SELECT * FROM assets WHERE status = 'processing' ORDER BY created_at LIMIT 1)) AS found"
            " ORDER BY created_at LIMIT 1"
        )
        return UnfinishedAsset(**dict(r)) if r else None

    async def stuck(self) -> list[StuckStage]:
        """Return unfinished stages without a change for STUCK_SECONDS, longest first, at most STUCK_LIMIT."""
        records = await self._database.fetch(
            "SELECT a.asset_id, a.asset_type, a.status, s.stage, s.state, s.attempt, s.nudges,"
            " extract(epoch FROM now() - s.updated_at)::float8 AS seconds"
            " FROM (SELECT * FROM stages s"
            "   WHERE state IN ('queued', 'leased', 'waiting') AND (lease_until IS NULL OR lease_until < now())"
            f"  AND updated_at < now() - $1::float8 * interval '1 second' AND {IS_IN_PROGRESS}"
            f"  ORDER BY updated_at LIMIT {STUCK_LIMIT}) AS s JOIN assets a USING (asset_id) ORDER BY s.updated_at",
            STUCK_SECONDS,
        )
        return [StuckStage(**dict(r)) for r in records]
