"""Cursors of listings: the position of a page's last asset, bound to the filters and the order of the listing."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from uuid import UUID

from api.problems import ProblemCode, ProblemError
from api.schemas.assets import ListingQuery
from media.asset import Asset
from media.asset_store.listing import Position


def make(last: Asset, query: ListingQuery) -> str:
    """Make the cursor of the page after this asset."""
    position = f"{last.created_at.isoformat()} {last.asset_id} {_filters(query)}"
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def parse(cursor: str, query: ListingQuery) -> Position:
    """Return the position of a cursor. Raises ProblemError(invalid_request), also for one of other filters."""
    # A cursor is not secret and not signed: every query has the owner in it.
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        at, _, rest = text.partition(" ")
        asset_id, _, filters = rest.partition(" ")
        created_at = datetime.fromisoformat(at)
        if created_at.tzinfo is None:
            raise ValueError("no time zone")  # noqa: TRY301 - one problem for every malformed cursor
        position = created_at.astimezone(UTC), UUID(asset_id)
    except (ValueError, OverflowError) as error:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "the cursor is not one of ours") from error
    # One without filters comes from release 6, which may still run beside this one.
    if filters and filters != _filters(query):
        raise ProblemError(ProblemCode.INVALID_REQUEST, "the cursor came with other filters: begin again without it")
    return position


def _filters(query: ListingQuery) -> str:
    """Return a digest of the filters and the order. The size of a page and the count may change from page to page."""
    given = query.model_dump(mode="json", exclude_none=True, exclude={"cursor", "limit", "count"})
    text = json.dumps({name: sorted(set(one)) if isinstance(one, list) else one for name, one in given.items()})
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
