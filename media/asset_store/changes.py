"""Poll for changed assets. A trigger writes each change to the table `changes`, in the transaction that makes it.

A notification (`NOTIFY`) would take one lock for the whole database at every commit, and a pooler has no `LISTEN`.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

import structlog
from pydantic_core import from_json

from media.asset_store.database import Database
from media.asset_store.housekeeping import CHANGES_KEPT
from media.errors import Dependency, UnavailableError

log = structlog.get_logger(__name__)

POLL_INTERVAL = 0.5
"""Seconds between two polls while somebody waits for changes: a change is told within a second."""
IDLE_INTERVAL = 5.0
"""Seconds between two polls otherwise. They keep the snapshot from which the next stream goes on."""
PATIENCE = 10.0
"""Seconds without an answer after which changes count as lost. Shorter outages lose none."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The assets and the owners whose changes are told, or all."""

    asset_ids: Collection[UUID] = ()
    owner_ids: Collection[str] = ()
    all: bool = False


Changed = Callable[[UUID, str], None]
"""Receives the asset and its owner."""

# What a snapshot sees and the one before did not: what has begun since, and what was in progress then. A transaction
# that lasts long delays nobody else's changes, and lets nobody read more. With IN, unlike ANY, names are hashed by
# every plan.
_POLL = """
SELECT pg_current_snapshot()::text AS snapshot, extract(epoch FROM clock_timestamp())::float8 AS at,
    (SELECT epoch FROM change_feed) AS epoch, current_setting('transaction_read_only') = 'on' AS is_read_only,
    (SELECT jsonb_agg(jsonb_build_array(asset_id, owner_id)) FROM (
        SELECT DISTINCT asset_id, owner_id FROM (
            SELECT asset_id, owner_id FROM changes WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot)
            UNION ALL
            SELECT asset_id, owner_id FROM changes
            WHERE xid = ANY(ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot)))) AS since
        WHERE $2 OR asset_id IN (SELECT unnest($3::uuid[])) OR owner_id IN (SELECT unnest($4::text[]))
    ) AS named) AS changed
"""


class ChangeFeed:
    """Tells of every change of what is `watched`, once at least, as long as `listening(True)` holds.

    `watched` is called before each poll, and `listening(True)` after it: of what was watched by then, the next poll
    tells every change that a read from then on does not see. `listening(False)` is called when changes were lost: the
    database was away for PATIENCE seconds, or its unlogged tables were emptied by a crash or a failover.
    """

    def __init__(
        self,
        database: Database,
        watched: Callable[[], Watched],
        changed: Changed,
        listening: Callable[[bool], None],
    ) -> None:
        self._database = database
        self._watched = watched
        self._changed = changed
        self._listening = listening
        self._snapshot: str | None = None
        self._epoch: UUID | None = None
        self._at = 0.0

    async def run(self, awaited: asyncio.Event) -> NoReturn:
        """Poll for ever, often while `awaited` is set. Ends by cancellation only."""
        loop = asyncio.get_running_loop()
        answered, tells = loop.time(), False
        while True:
            begun = loop.time()
            try:
                await self.poll(tells=tells)
                answered = loop.time()
            except UnavailableError as error:
                log.warning("changes.unavailable", error=str(error))
            except Exception:  # whatever is answered, the streams of this process depend on this loop
                log.exception("changes.unforeseen")
            if loop.time() - answered > PATIENCE:
                self._lose()
            # What happened before the first poll that is awaited concerns nobody.
            if tells := awaited.is_set():
                interval = POLL_INTERVAL * random.uniform(0.8, 1.0)  # noqa: S311 - APIs take turns
                await asyncio.sleep(max(0.0, begun + interval - loop.time()))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_INTERVAL):
                    await awaited.wait()

    async def poll(self, *, tells: bool = True) -> None:
        """Tell of the changes since the poll before, if it `tells`. Raises UnavailableError."""
        watched, since = self._watched(), self._snapshot if tells else None
        record = await self._database.fetchrow(_POLL, since, watched.all, watched.asset_ids, watched.owner_ids)
        if record is None or record["is_read_only"]:
            # A failover: this server lives on, but nothing changes there any more.
            raise UnavailableError(Dependency.POSTGRES, "the server became read-only")
        if record["epoch"] is None:
            self._lose()
            await self._database.execute("INSERT INTO change_feed DEFAULT VALUES ON CONFLICT DO NOTHING")
            return
        if record["epoch"] != self._epoch or record["at"] - self._at > CHANGES_KEPT / 2:
            self._lose()
            self._epoch = record["epoch"]
        else:
            for asset_id, owner_id in from_json(record["changed"] or "[]"):
                self._changed(UUID(asset_id), owner_id)
        self._snapshot, self._at = record["snapshot"], record["at"]
        self._listening(True)

    def _lose(self) -> None:
        self._snapshot = self._epoch = None
        self._listening(False)
