"""Events that others are still to be told. The database writes them beside each change (`write_asset_event`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import from_json

from media.asset_store.database import Database

LEASE = 15.0
"""Seconds for which rows that one sender took are hidden from the others: longer than a call and its statement."""
FIRST_RETRY, LONGEST_RETRY = 0.25, 60.0
"""Seconds after which an event that failed is sent again. They double with each attempt."""
OVERTAKEN_AFTER = 8
"""Attempts after which an event that fails does not hold up the later ones of its asset."""
EVENTS_NOTED = 50
"""Entries about events on one timeline, from which on `changed` ones are not noted: anybody may PATCH without end."""


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event as it was committed. `asset` is the row of the asset, with its renditions.

    `kind` is what the database calls the change; that of a newer release may know more of them than this code.
    `is_newest` says that its asset had no later event when it was taken.
    """

    event_id: UUID
    asset_id: UUID
    sequence: int
    kind: str
    previous_status: str | None
    created_at: datetime
    asset: Mapping[str, Any]
    is_newest: bool


# Only the oldest event of an asset is taken, so that they leave in order. What failed often is overtaken.
_TAKE = f"""
UPDATE event_outbox SET attempts = attempts + 1, due_at = now() + {LEASE} * interval '1 second'
WHERE id IN (
    SELECT id FROM event_outbox e
    WHERE due_at <= now() AND NOT EXISTS (
        SELECT FROM event_outbox earlier
        WHERE earlier.asset_id = e.asset_id AND earlier.sequence < e.sequence AND earlier.attempts < {OVERTAKEN_AFTER})
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING *, NOT EXISTS (
    SELECT FROM event_outbox later
    WHERE later.asset_id = event_outbox.asset_id AND later.sequence > event_outbox.sequence) AS is_newest
"""  # noqa: S608 - constants of ours
_SENT = f"""
WITH sent AS (DELETE FROM event_outbox WHERE id = ANY($1::uuid[]) RETURNING *)
INSERT INTO timeline (asset_id, code, detail)
SELECT sent.asset_id, 'event_sent', sent.kind || ', sequence ' || sent.sequence || ', ' || sent.id
FROM sent JOIN assets USING (asset_id)
WHERE sent.kind <> 'changed'
   OR (SELECT count(*) FROM timeline t WHERE t.asset_id = sent.asset_id AND t.code = 'event_sent') < {EVENTS_NOTED}
ORDER BY sent.asset_id, sent.sequence
"""  # noqa: S608 - a constant of ours
_FAILED = f"""
UPDATE event_outbox SET error = left(failed.error, 500),
    due_at = now() + least({LONGEST_RETRY}, {FIRST_RETRY} * 2 ^ least(attempts - 1, 10)) * interval '1 second'
FROM unnest($1::uuid[], $2::text[]) AS failed(id, error) WHERE event_outbox.id = failed.id
"""  # noqa: S608 - constants of ours
_SET_BUS = """
WITH others AS (DELETE FROM event_buses WHERE name IS DISTINCT FROM $1::text)
INSERT INTO event_buses (name) SELECT $1::text WHERE $1::text IS NOT NULL ON CONFLICT DO NOTHING
"""


class EventOutbox:
    """Reads and deletes pending events. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_bus(self, name: str | None) -> None:
        """Write down which bus there is. From then on changes write events; without a bus they write none."""
        await self._database.execute(_SET_BUS, name)

    async def take(self, most: int) -> list[PendingEvent]:
        """Take events that are due, oldest first. They are due again after LEASE seconds, unless they were sent."""
        events = [
            PendingEvent(
                event_id=record["id"],
                asset_id=record["asset_id"],
                sequence=record["sequence"],
                kind=record["kind"],
                previous_status=record["previous_status"],
                created_at=record["created_at"],
                asset=from_json(record["asset"]),
                is_newest=record["is_newest"],
            )
            for record in await self._database.fetch(_TAKE, most)
        ]
        return sorted(events, key=lambda event: event.event_id)

    async def sent(self, events: Sequence[PendingEvent]) -> None:
        """Delete events that the bus has taken, and note them on timelines: see EVENTS_NOTED."""
        await self._database.execute(_SENT, [event.event_id for event in events])

    async def failed(self, errors: Mapping[UUID, str]) -> None:
        """Note why events were not taken. Each is due again after a pause."""
        await self._database.execute(_FAILED, list(errors), list(errors.values()))

    async def oldest_age(self) -> float:
        """Return for how many seconds the oldest event has waited, 0 when there is none."""
        found = await self._database.fetchval(
            "SELECT extract(epoch FROM clock_timestamp() - min(created_at))::float8 FROM event_outbox"
        )
        return max(0.0, found or 0.0)
