"""Removes files from the CDN's caches once they are gone at the origin: an earlier removal would be undone at once.

All that wait in the outbox are sent together. CloudFront works on 15 paths with a wildcard at a time, so a batch has
fewer: one path for each asset, or else for each owner, or else for each type.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import structlog

from media.asset_store.database import Database
from media.errors import Code, RetryableError
from media.outbox import OutboxRow

log = structlog.get_logger(__name__)

MOST_PATHS = 10
"""Paths of one batch. Of CloudFront's 15, some may be of a batch that is in progress."""
BATCH = 1000
"""Assets of one batch."""
_WAITING = f"""
SELECT id, target, EXISTS (
    SELECT FROM outbox o WHERE o.asset_id = w.asset_id AND o.kind = 'delete_prefix'
                           AND starts_with(o.body ->> 'prefix', w.target)) AS is_early
FROM outbox w WHERE kind = 'invalidate' AND (id = ANY($1::bigint[]) OR due_at <= now() + interval '10 minutes')
ORDER BY id LIMIT {BATCH}
"""  # noqa: S608 - a number


class Cache(Protocol):
    """The caches of a CDN."""

    async def invalidate(self, paths: Sequence[str], reference: str) -> None: ...


class Invalidations:
    """Dispatches the effects `invalidate`, whose targets are prefixes. Without a cache there is nothing to do."""

    def __init__(self, database: Database, cache: Cache | None) -> None:
        self._database = database
        self._cache = cache

    async def dispatch(self, rows: Sequence[OutboxRow]) -> None:
        """Send these and all others that wait. Raises RetryableError when a row's files are not removed yet."""
        if self._cache is None:
            return
        wanted = [row.row_id for row in rows]
        found = await self._database.fetch(_WAITING, wanted)
        ready = {record["id"]: str(record["target"]) for record in found if not record["is_early"]}
        if ready:
            paths = coalesce(list(ready.values()))
            reference = hashlib.sha256(repr((sorted(ready), paths)).encode()).hexdigest()[:40]
            await self._cache.invalidate(paths, reference)
            await self._database.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", list(ready))
            log.info("invalidations.sent", assets=len(ready), paths=len(paths))
        if any(record["is_early"] and record["id"] in wanted for record in found):
            raise RetryableError(Code.STORAGE_ERROR, "the files are not removed from the bucket yet")


def coalesce(prefixes: Sequence[str], most: int = MOST_PATHS) -> list[str]:
    """Return at most `most` paths that cover all prefixes `top/type/owner/asset/`.

    They are those of the assets, or else of the owners, or else of the types.
    """
    for depth in (4, 3, 2):
        paths = sorted({f"/{'/'.join(prefix.split('/')[:depth])}/*" for prefix in prefixes})
        if len(paths) <= most:
            return paths
    return sorted({f"/{prefix.split('/')[0]}/*" for prefix in prefixes})
