"""What operators mend: new rounds for stages that failed, and rows that do not match what lies in S3."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from pydantic_core import from_json

from media.asset import REPAIRS, Asset, Stage, StageState, Status, sources_of
from media.asset_store.database import CONNECT_TIMEOUT, Database, is_pooled, postgres_calls
from media.asset_store.rows import RENDITIONS_AS_JSON, asset_of
from media.errors import Code, Dependency, UnavailableError
from media.outbox import Effect, OutboxRow, effects_as_json, outbox_row

PAGE = 1000
"""Paths read at a time."""
SORT_TIMEOUT = 600.0
"""Seconds for the one statement that sorts all assets, and for each page of it."""
RESTORED = 1_000_000
"""Raises the number of every asset's events after a restore, so that the next is above all that were sent before."""
RAISED_AT_ONCE = 10_000
"""Assets of one such statement."""

_PATHS = """
DECLARE paths NO SCROLL CURSOR WITH HOLD FOR
SELECT (asset_type || '/' || owner_id || '/' || asset_id) COLLATE "C" AS path FROM assets
WHERE status IN ('uploaded', 'scanning', 'processing', 'ready') ORDER BY path
"""
_ROWS = (  # constants of ours
    "SELECT a.*, "
    + RENDITIONS_AS_JSON
    + """ AS renditions,
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
         'stage', s.stage, 'state', s.state, 'attempt', s.attempt,
         'is_held', s.state = 'leased' AND s.lease_until > now())), '[]')
     FROM stages s WHERE s.asset_id = a.asset_id) AS stages
FROM assets a WHERE a.asset_id = ANY($1::uuid[])
"""
)
_RAISE_ATTEMPTS = """
INSERT INTO stages AS s (asset_id, stage, state, attempt, forgiven)
SELECT $1, seen.stage, 'cancelled', seen.attempt, seen.attempt
FROM unnest($2::text[], $3::int[]) AS seen(stage, attempt)
ON CONFLICT (asset_id, stage) DO UPDATE
SET attempt = excluded.attempt, forgiven = s.forgiven + excluded.attempt - s.attempt
WHERE s.attempt < excluded.attempt AND s.state <> 'waiting' AND NOT (s.state = 'leased' AND s.lease_until > now())
"""
_RAISE_SEQUENCES = f"""
WITH page AS (
    SELECT asset_id FROM assets WHERE asset_id > $1 ORDER BY asset_id LIMIT {RAISED_AT_ONCE}),
raised AS (
    UPDATE assets SET event_sequence = event_sequence + {RESTORED} FROM page WHERE assets.asset_id = page.asset_id)
SELECT asset_id FROM page ORDER BY asset_id DESC LIMIT 1
"""
_RAISE_NEXT = f"""
INSERT INTO positions (name, position) VALUES ('event_sequence', {RESTORED})
ON CONFLICT (name) DO UPDATE SET position = positions.position + {RESTORED}
"""
_REJECT = """
WITH gone AS (
    UPDATE assets SET status = 'rejected', code = $2, detail = $3, updated_at = now()
    WHERE asset_id = $1 AND status = ANY($4::text[]) RETURNING asset_id),
cancelled AS (
    UPDATE stages s SET state = 'cancelled', lease_until = NULL, updated_at = now()
    FROM gone WHERE s.asset_id = gone.asset_id AND s.state IN ('queued', 'leased', 'waiting')),
dropped AS (DELETE FROM renditions r USING gone WHERE r.asset_id = gone.asset_id),
noted AS (INSERT INTO timeline (asset_id, code, detail) SELECT asset_id, 'rejected', $2 || ': ' || $3 FROM gone),
sent AS (
    INSERT INTO outbox (asset_id, kind, target, body, due_at)
    SELECT asset_id, e.kind, e.target, e.body, now()
    FROM gone, jsonb_to_recordset($5::jsonb) AS e(kind text, target text, body jsonb))
SELECT count(*) FROM gone
"""


@dataclass(frozen=True, slots=True)
class StageSummary:
    """The state of a stage. `is_held` says that a worker holds its lease now."""

    state: StageState
    attempt: int
    is_held: bool


@dataclass(frozen=True, slots=True)
class KnownAsset:
    """An asset with its renditions and stages."""

    asset: Asset
    stages: Mapping[Stage, StageSummary]


class Recovery:
    """Queries of `reconcile-storage`. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def has_assets(self) -> bool:
        """Say whether the database knows any asset at all."""
        return bool(await self._database.fetchval("SELECT EXISTS (SELECT FROM assets)"))

    async def get(self, asset_ids: Sequence[UUID]) -> dict[UUID, KnownAsset]:
        """Return those of the assets that have a row, as they are now."""
        records = await self._database.fetch(_ROWS, list(asset_ids))
        found: dict[UUID, KnownAsset] = {}
        for record in records:
            stages = {
                Stage(stage["stage"]): StageSummary(StageState(stage["state"]), stage["attempt"], stage["is_held"])
                for stage in from_json(record["stages"])
            }
            found[record["asset_id"]] = KnownAsset(asset_of(record), stages)
        return found

    async def raise_attempts(self, asset_id: UUID, seen: Mapping[Stage, int]) -> None:
        """Raise each stage's attempt to the highest that wrote to S3, so that no later attempt writes over it.

        A stage without a row gets one that asks for no work. A stage that a worker holds is left alone.
        """
        await self._database.execute(_RAISE_ATTEMPTS, asset_id, list(seen), list(seen.values()))

    async def raise_event_sequences(self) -> None:
        """Raise the number of every asset's events by RESTORED, and of those that the backup does not know.

        Nobody is told of that.
        """
        await self._database.execute(_RAISE_NEXT)
        last: UUID | None = UUID(int=0)
        while last is not None:
            last = await self._database.fetchval(_RAISE_SEQUENCES, last)

    async def remind_soon(self, asset_id: UUID) -> None:
        """Let the reconciler remind a held stage when its lease ends, and a stage that waits for a job at once.

        The restored database may not know the worker, or the event of the job, that would have ended the stage.
        """
        await self._database.execute(
            "UPDATE stages SET nudges = 0, nudge_at = now() WHERE asset_id = $1 AND state IN ('leased', 'waiting')",
            asset_id,
        )

    async def reject(self, asset_id: UUID, code: Code, detail: str, effects: Sequence[Effect] = ()) -> bool:
        """End an asset as `rejected`, whatever stage it has reached, and write `effects` to the outbox."""
        repaired = [status.value for status, targets in REPAIRS.items() if Status.REJECTED in targets]
        sources = [*repaired, *(status for status in sources_of(Status.REJECTED) if status != Status.REJECTED)]
        return bool(
            await self._database.fetchval(_REJECT, asset_id, code, detail[:2000], sources, effects_as_json(effects))
        )


_REOPEN = """
WITH open AS (
    SELECT asset_id FROM assets
    WHERE asset_id = $1 AND version_id IS NOT NULL
      AND status = ANY($6::text[]) FOR UPDATE),
round AS (
    UPDATE stages s SET state = 'queued', forgiven = s.attempt, lease_until = NULL, job_id = NULL, plan = NULL,
           progress = 0, nudges = 0, nudge_at = NULL, updated_at = now()
    FROM open
    WHERE s.asset_id = open.asset_id AND s.stage = $2
      AND s.state <> 'waiting' AND NOT (s.state = 'leased' AND s.lease_until > now())
    RETURNING s.asset_id, s.attempt),
dropped AS (
    DELETE FROM renditions r USING round
    WHERE r.asset_id = round.asset_id AND ($2 = 'scan' OR split_part(r.key, '/', 5) LIKE $2 || '-%')),
moved AS (
    UPDATE assets a SET status = $3, code = NULL, detail = NULL, updated_at = now()
    FROM round WHERE a.asset_id = round.asset_id),
noted AS (
    INSERT INTO timeline (asset_id, stage, attempt, code, detail)
    SELECT asset_id, $2, attempt, 'replayed', $4 FROM round),
sent AS (
    INSERT INTO outbox (asset_id, kind, target, body, group_id)
    SELECT round.asset_id, e.kind, e.target, e.body, e.group_id
    FROM round, jsonb_to_recordset($5::jsonb) AS e(kind text, target text, body jsonb, group_id text) RETURNING *)
SELECT sent.* FROM sent
"""

_REPLAYED = (Status.FAILED, Status.UPLOADED, Status.SCANNING, Status.PROCESSING)

_FAILED_OR_UNFINISHED = """
SELECT stage FROM stages WHERE asset_id = $1 AND state NOT IN ('done', 'rejected', 'cancelled')
ORDER BY (state = 'failed') DESC, updated_at DESC LIMIT 1
"""


class Replays:
    """Opens new rounds. Every method raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stage_at_fault(self, asset_id: UUID) -> Stage | None:
        """Return the stage that failed, else the one that is not done yet."""
        stage = await self._database.fetchval(_FAILED_OR_UNFINISHED, asset_id)
        return Stage(stage) if stage else None

    async def reopen(
        self,
        asset_id: UUID,
        stage: Stage,
        note: str,
        effects: Sequence[Effect],
        statuses: Sequence[Status] = _REPLAYED,
    ) -> list[OutboxRow]:
        """Queue a stage again, with all attempts forgiven, and write `effects` to the outbox, in one transaction.

        Changes nothing and returns no row when the asset has none of the `statuses`, has no such stage, or is being
        worked on. Renditions of the stage are dropped, and those of all stages with `scan`: a later stage needs the
        document that the scan stored.
        """
        status = Status.SCANNING if stage is Stage.SCAN else Status.PROCESSING
        records = await self._database.fetch(
            _REOPEN, asset_id, stage, status, note[:2000], effects_as_json(effects), list(statuses)
        )
        return [outbox_row(record) for record in records]


async def paths_in_order(dsn: str) -> AsyncGenerator[str]:
    """Yield `type/owner/id` of every asset that needs an object, in the order in which S3 lists keys.

    The server sorts once and keeps the result: no transaction stays open, and only a page is in memory here. Assets
    that are added meanwhile are not among them. Raises UnavailableError.
    """
    with postgres_calls():
        connection = await asyncpg.connect(
            dsn, timeout=CONNECT_TIMEOUT, command_timeout=SORT_TIMEOUT, statement_cache_size=0
        )
    try:
        if await is_pooled(connection):
            raise UnavailableError(Dependency.POSTGRES, "a pooler keeps no cursor: use Postgres' own address")
        with postgres_calls():
            await connection.execute(f"SET statement_timeout = '{SORT_TIMEOUT:.0f}s'")
            await connection.execute(_PATHS)
        while True:
            with postgres_calls():
                page = await connection.fetch(f"FETCH {PAGE} FROM paths")
            for record in page:
                yield record["path"]
            if not page:
                return
    finally:
        connection.terminate()
