"""New rounds, opened by an operator, for stages that failed or stand still."""

from collections.abc import Sequence
from uuid import UUID

from media.asset import Stage, Status
from media.asset_store.database import Database
from media.outbox import Effect, OutboxRow, effects_as_json, outbox_row

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
