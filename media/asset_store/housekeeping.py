"""Forget what nobody asks for any more, a bounded number of rows at a time."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

import structlog

from media.asset_store.database import Database

log = structlog.get_logger(__name__)

CHANGES_KEPT = 120.0
"""Seconds for which a change is kept at least: far more than an API's poll may be late before its streams end."""
QUIET = 180.0
"""Seconds for which the trigger does not notify listeners of the version before, once none was seen."""
PURGED_ASSETS = 200
"""Assets deleted in one statement, each with its stages, renditions and timeline: well below a second, even cold."""
PRUNED_ROWS = 5000
"""Rows of a timeline, or changes, deleted in one statement."""
ROUNDS = 20
"""Most statements of one kind in one turn."""

# Limits are literals: a plan for any limit would prepare for a tenth of the table.
_PRUNE_CHANGES = f"""
DELETE FROM changes WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM changes WHERE at < now() - $1::float8 * interval '1 second' ORDER BY xid LIMIT {PRUNED_ROWS}))
"""
_KEEP_QUIET = """
INSERT INTO change_feed (quiet_until)
SELECT now() + $1::float8 * interval '1 second' WHERE NOT EXISTS (
    SELECT FROM pg_stat_activity WHERE application_name = 'media-changes' AND datname = current_database())
ON CONFLICT (single) DO UPDATE SET quiet_until = excluded.quiet_until
"""
_PURGE = f"""
DELETE FROM assets WHERE asset_id = ANY(ARRAY(
    SELECT asset_id FROM assets a
    WHERE status = '{{status}}' AND updated_at < now() - $1::float8 * interval '1 second'
      AND NOT EXISTS (SELECT FROM outbox o WHERE o.asset_id = a.asset_id)
    ORDER BY updated_at LIMIT {PURGED_ASSETS} FOR UPDATE SKIP LOCKED))
"""
# Without its plan a stage that is done takes no event any more. `updated_at` stays: the clean-up compares it.
_DROP_PLANS = f"""
UPDATE stages SET plan = NULL WHERE (asset_id, stage) IN (
    SELECT asset_id, stage FROM stages
    WHERE state = 'done' AND plan IS NOT NULL AND updated_at < now() - $1::float8 * interval '1 second'
    ORDER BY updated_at LIMIT {PURGED_ASSETS} FOR UPDATE SKIP LOCKED)
"""
# Ids follow time: a position says how far the timelines are pruned. The scans' verdicts stay, which are asked for.
_PRUNE_TIMELINES = f"""
WITH page AS (
    SELECT id, at < now() - $1::float8 * interval '1 second' AS is_old, code FROM timeline
    WHERE id > coalesce((SELECT position FROM positions WHERE name = 'timeline'), 0) ORDER BY id LIMIT {PRUNED_ROWS}),
reached AS (SELECT coalesce(min(id) FILTER (WHERE NOT is_old) - 1, max(id)) AS id FROM page),
gone AS (
    DELETE FROM timeline t USING page, reached
    WHERE t.id = page.id AND page.id <= reached.id AND page.code NOT IN ('clean', 'infected', 'unscannable')),
moved AS (
    INSERT INTO positions (name, position) SELECT 'timeline', id FROM reached WHERE id IS NOT NULL
    ON CONFLICT (name) DO UPDATE SET position = excluded.position)
SELECT count(*) = {PRUNED_ROWS} AND bool_and(is_old) FROM page
"""


@dataclass(frozen=True, slots=True)
class Retention:
    """Seconds for which records are kept. None keeps them for ever."""

    expired: float = 30 * 86_400.0
    deleted: float | None = 30 * 86_400.0
    timeline: float | None = None
    plan: float | None = 30 * 86_400.0


class Housekeeping:
    """Steps of the reconciler. Every step raises UnavailableError when Postgres is down."""

    def __init__(self, database: Database, retention: Retention) -> None:
        self._database = database
        self._retention = retention

    def steps(self) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        """List the steps of one turn, each with its name."""
        yield "keep the trigger quiet", self.keep_quiet
        yield "prune changes", partial(self._repeat, self.prune_changes)
        yield "purge expired", partial(self._repeat, partial(self.purge, "expired", self._retention.expired))
        if self._retention.deleted is not None:
            yield "purge deleted", partial(self._repeat, partial(self.purge, "deleted", self._retention.deleted))
        if self._retention.timeline is not None:
            yield "prune timelines", partial(self._repeat, partial(self.prune_timelines, self._retention.timeline))

        if self._retention.plan is not None:
            yield "drop plans", partial(self._repeat, partial(self.drop_plans, self._retention.plan))

    async def keep_quiet(self) -> None:
        """Spare the trigger its notifications for QUIET seconds, if no API of the version before listens."""
        await self._database.execute(_KEEP_QUIET, QUIET)

    async def prune_changes(self) -> bool:
        """Delete changes that every API has told of. Returns whether there are more."""
        return _count(await self._database.execute(_PRUNE_CHANGES, CHANGES_KEPT)) == PRUNED_ROWS

    async def purge(self, status: str, seconds: float) -> bool:
        """Delete assets that have been `expired` or `deleted` for so long. Returns whether there are more."""
        # The status is a literal, so that every plan may use the index of that status.
        count = _count(await self._database.execute(_PURGE.format(status=status), seconds))
        if count:
            log.info("housekeeping.purged", status=status, assets=count)
        return count == PURGED_ASSETS

    async def prune_timelines(self, seconds: float) -> bool:
        """Delete entries that are older, but the scans' verdicts. Returns whether there may be more."""
        return bool(await self._database.fetchval(_PRUNE_TIMELINES, seconds))

    async def drop_plans(self, seconds: float) -> bool:
        """Drop the plans of jobs that were done so long ago. Returns whether there are more."""
        return _count(await self._database.execute(_DROP_PLANS, seconds)) == PURGED_ASSETS

    async def _repeat(self, prune: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(ROUNDS):
            if not await prune():
                return


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
