"""The outbox: effects, written in the same transaction as the state that they follow from, dispatched after it.

The writer dispatches its own rows at once. A row that is left (a crash, an outage) becomes due ten seconds later, and
the reconciler's sweep dispatches it. An effect may therefore happen twice, so every effect is idempotent.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from pydantic import BaseModel

from media.asset_store.database import Database
from media.errors import UnavailableError

log = structlog.get_logger(__name__)

SWEEP_LIMIT = 100
"""Most rows of one sweep."""
KEPT = 60.0
"""Seconds for which a row that is held is kept from other sweeps, from each beat on."""
BEAT = 10.0
"""Seconds between two beats. A row that a sweep took for the first time is due again after fifteen."""


_ENQUEUE_ONCE = """
WITH expired AS (
    DELETE FROM callbacks WHERE signature IN (
        SELECT signature FROM callbacks WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED)),
first AS (INSERT INTO callbacks (signature, expires_at) VALUES ($3, $4) ON CONFLICT DO NOTHING RETURNING signature)
INSERT INTO outbox (asset_id, kind, target, body, group_id)
SELECT $1, e.kind, e.target, e.body, e.group_id
FROM first, jsonb_to_recordset($2::jsonb) AS e(kind text, target text, body jsonb, group_id text)
RETURNING *
"""


# Its commit does not wait for the disk: a crash may bring back what was deleted in the last second, which is then
# dispatched once more.
_DELETE = """
WITH unsynced AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
DELETE FROM outbox USING unsynced WHERE id = ANY($1::bigint[])
"""


class EffectKind(StrEnum):
    SEND = "send"
    QUARANTINE = "quarantine"
    DELETE_PREFIX = "delete_prefix"
    DELETE_VERSION = "delete_version"
    DELETE_KEY = "delete_key"
    CANCEL_JOB = "cancel_job"
    INVALIDATE = "invalidate"
    CHANGE_DELIVERY = "change_delivery"


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to do outside Postgres. `target` is a queue's name, a bucket, job, prefix or delivery."""

    kind: EffectKind
    target: str
    body: Mapping[str, Any]
    group_id: str = ""

    @classmethod
    def send(cls, queue: str, message: BaseModel, *, owner_id: str) -> "Effect":
        """Return the effect that sends a message to one of our queues. The owner is the tenant (fair queues)."""
        return cls(EffectKind.SEND, queue, message.model_dump(mode="json"), group_id=owner_id)


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An effect and its row in the outbox."""

    row_id: int
    asset_id: UUID
    effect: Effect


Dispatch = Callable[[Sequence[OutboxRow]], Awaitable[None]]
"""Dispatches rows of one kind. Raises when any of them has to be tried again."""


class Outbox:
    """Dispatches rows and deletes them. `dispatchers` says how, by kind.

    Rows of other kinds wait for a process that has a dispatcher for them.
    """

    def __init__(self, database: Database, dispatchers: Mapping[EffectKind, Dispatch]) -> None:
        self._database = database
        self._dispatchers = dispatchers

    async def enqueue(self, asset_id: UUID, effects: Sequence[Effect]) -> list[OutboxRow]:
        """Write effects that follow from no other change. The caller dispatches them like those of a commit."""
        records = await self._database.fetch(
            "INSERT INTO outbox (asset_id, kind, target, body, group_id)"
            " SELECT $1, e.kind, e.target, e.body, e.group_id"
            " FROM jsonb_to_recordset($2::jsonb) AS e(kind text, target text, body jsonb, group_id text) RETURNING *",
            asset_id,
            effects_as_json(effects),
        )
        return [outbox_row(record) for record in records]

    async def enqueue_once(
        self, asset_id: UUID, effects: Sequence[Effect], *, signature: str, expires_at: datetime
    ) -> list[OutboxRow] | None:
        """Write effects of a signed request. Returns None when any process has accepted this signature before.

        The signature is stored until `expires_at`, in the same transaction as the effects.
        """
        records = await self._database.fetch(_ENQUEUE_ONCE, asset_id, effects_as_json(effects), signature, expires_at)
        return [outbox_row(record) for record in records] or None

    async def dispatch(self, rows: Sequence[OutboxRow]) -> None:
        """Dispatch rows that were just committed. Raises what a dispatcher raises; the rows then wait for the sweep."""
        done: list[int] = []
        try:
            for kind, dispatch in self._dispatchers.items():
                matching = [row for row in rows if row.effect.kind is kind]
                if matching:
                    await dispatch(matching)
                    done += [row.row_id for row in matching]
        finally:
            if done:
                await self.delete(done)

    async def delete(self, rows: Sequence[int]) -> None:
        """Forget rows, by number, of effects that another way took."""
        await self._database.execute(_DELETE, rows)

    async def postpone(self, rows: Mapping[int, int]) -> None:
        """Make rows, by number, due in so many seconds."""
        await self._database.execute(
            "UPDATE outbox o SET due_at = now() + r.delay * interval '1 second'"
            " FROM unnest($1::bigint[], $2::int[]) AS r(id, delay) WHERE o.id = r.id",
            list(rows),
            list(rows.values()),
        )

    async def dispatch_pending(self, asset_id: UUID) -> None:
        """Dispatch the rows that are left of one asset. A redelivered message shows that their writer did not."""
        await self.dispatch(await self.pending_of(asset_id))

    async def pending_of(self, asset_id: UUID) -> list[OutboxRow]:
        """Return the rows that are left of one asset, oldest first, without those that are for later."""
        records = await self._database.fetch(
            "SELECT * FROM outbox WHERE asset_id = $1 AND kind = ANY($2::text[])"
            " AND (attempts > 0 OR due_at <= now() + interval '10 seconds') ORDER BY id",
            asset_id,
            [kind.value for kind in self._dispatchers],
        )
        return [outbox_row(record) for record in records]

    async def keep(self, row: OutboxRow) -> None:
        """Keep a row that is being dispatched from other sweeps for KEPT seconds."""
        await self._database.execute(
            "UPDATE outbox SET due_at = now() + $2::float8 * interval '1 second' WHERE id = $1", row.row_id, KEPT
        )

    @asynccontextmanager
    async def hold(self, row: OutboxRow) -> AsyncIterator[None]:
        """Keep a row from other sweeps for as long as it takes to dispatch it. Nothing is lost where that fails."""

        async def beat() -> None:
            while True:
                await asyncio.sleep(BEAT)
                with suppress(UnavailableError):
                    await self.keep(row)

        beating = asyncio.create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def sweep(self, limit: int = SWEEP_LIMIT) -> int:
        """Dispatch due rows, each on its own; returns how many succeeded. A failure is recorded on its row."""
        records = await self._database.fetch(
            "UPDATE outbox SET attempts = attempts + 1,"  # noqa: S608 - a number
            " due_at = now() + least(600, 15 * 2 ^ least(attempts, 6)) * interval '1 second'"
            " WHERE id = ANY(ARRAY(SELECT id FROM outbox WHERE due_at <= now() AND kind = ANY($1::text[])"
            f"              ORDER BY due_at LIMIT {limit} FOR UPDATE SKIP LOCKED)) RETURNING *",
            [kind.value for kind in self._dispatchers],
        )
        dispatched = 0
        # In the order in which they were written, and caches last: all files that go in this sweep are one batch.
        rows = sorted(map(outbox_row, records), key=lambda row: (row.effect.kind is EffectKind.INVALIDATE, row.row_id))
        for row in rows:
            try:
                await self.dispatch([row])
            except Exception as error:  # noqa: BLE001 - any failure is recorded, and the other rows go on
                log.warning("outbox.failed", kind=row.effect.kind, asset_id=str(row.asset_id), error=str(error))
                await self._database.execute("UPDATE outbox SET error = $2 WHERE id = $1", row.row_id, str(error)[:500])
            else:
                dispatched += 1
        return dispatched


def outbox_row(record: asyncpg.Record) -> OutboxRow:
    """Turn a row of `outbox` into an OutboxRow."""
    effect = Effect(EffectKind(record["kind"]), record["target"], json.loads(record["body"]), record["group_id"])
    return OutboxRow(record["id"], record["asset_id"], effect)


def effects_as_json(effects: Sequence[Effect]) -> str:
    """Return effects as JSON, for `jsonb_to_recordset` to turn into outbox rows."""
    return json.dumps(
        [{"kind": e.kind, "target": e.target, "body": dict(e.body), "group_id": e.group_id} for e in effects],
    )
