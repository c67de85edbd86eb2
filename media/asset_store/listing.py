"""Which assets a listing shows: the filters, and the one statement that reads a page of them.

Each filter has an index that ends with `created_at, asset_id`, and the statement is written so that Postgres must read
it from the page's position on, however rare a status is, and whatever it believes of the values. With `owner_id = $1`
it may walk another index in the order of time instead, for as long as no asset of the owner comes. So the index's
columns are compared as one row, and are the order: `(owner_id, created_at, asset_id) < ($1, $2, $3)`.

Several statuses or types are as many scans, each with the page's limit, because an index has no order across them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from uuid import UUID

from media.asset import Asset, AssetType, Status
from media.asset_store.rows import RENDITIONS_AS_JSON

PAGE_LIMIT = 100
"""Most assets on one page of a listing."""
TOTAL_LIMIT = 10_000
"""Assets that are counted. Beyond, a total says only that there are more."""
_NOT_DELETED = [status for status in Status if status is not Status.DELETED]

_NAMES = ("recording_id", "webinar_id", "external_id")
"""Filters that name few assets, first those that the webinar service gives out: anybody may use one external id."""

type Position = tuple[datetime, UUID]
"""Where an asset stands in a listing: `created_at` and id."""
_FIRST: Position = datetime.min.replace(tzinfo=UTC), UUID(int=0)
_LAST: Position = datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a listing: at most `limit` assets after a position, in which order, and whether to count all."""

    after: Position | None = None
    newest_first: bool = True
    limit: int = 50
    is_counted: bool = False


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """What the assets of a listing have in common. Without `statuses` all but deleted ones; times are exclusive."""

    owner_id: str | None = None
    asset_ids: Sequence[UUID] | None = None
    asset_types: Sequence[AssetType] = ()
    statuses: Sequence[Status] = ()
    recording_id: str | None = None
    webinar_id: str | None = None
    external_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def between(self, page: PageRequest) -> tuple[Position, Position]:
        """Return the positions between which a page stands: of two limits on one side, the nearer one."""
        first = (self.created_after, _LAST[1]) if self.created_after else _FIRST
        last = (self.created_before, _FIRST[1]) if self.created_before else _LAST
        if page.after and page.newest_first:
            return first, min(last, page.after)
        return (max(first, page.after), last) if page.after else (first, last)


@dataclass(frozen=True, slots=True)
class AssetPage:
    """Assets in order, and whether more come after. `total`, where it was asked for, is at most TOTAL_LIMIT + 1."""

    assets: Sequence[Asset]
    has_more: bool
    total: int | None = None


class PageStatement:
    """The text of a statement and its values, for one asset more than a page has, which shows whether there are more.

    Texts are few, so that Postgres can keep their plans.
    """

    def __init__(self, chosen: AssetFilter, page: PageRequest) -> None:
        self.values: list[object] = []
        self._chosen = chosen
        self.limit = min(page.limit, PAGE_LIMIT)
        way, limit = " DESC" if page.newest_first else "", self.limit + 1
        order = f"created_at{way}, asset_id{way}"
        self.text = (
            f"SELECT a.*, {RENDITIONS_AS_JSON} AS renditions FROM ({self._scans('*', page, way, limit)}) a"
            f" ORDER BY {order} LIMIT {limit}"
        )
        if page.is_counted:
            everything = self._scans("1", PageRequest(), "", TOTAL_LIMIT + 1)
            self.text = (
                f"SELECT page.*, total FROM (SELECT count(*) AS total FROM (SELECT FROM ({everything}) found"
                f" LIMIT {TOTAL_LIMIT + 1}) counted) totals LEFT JOIN ({self.text}) page ON true ORDER BY {order}"
            )

    def _scans(self, columns: str, page: PageRequest, way: str, limit: int) -> str:
        """Return a query of at least the first `limit` assets that are chosen, from the page's position on."""
        first, last = self._chosen.between(page)
        scans = []
        for keys, conditions in self._branches():
            names = [*keys, "created_at", "asset_id"]
            values = [self._bind(value) for value in keys.values()]
            ends = [
                f"({', '.join(names)}) {sign} ({', '.join([*values, self._bind(at), self._bind(asset_id)])})"
                for sign, (at, asset_id) in ((">", first), ("<", last))
            ]
            order = ", ".join(name + way for name in names)
            where = " AND ".join([*ends, *conditions])
            scans.append(f"(SELECT {columns} FROM assets WHERE {where} ORDER BY {order} LIMIT {limit})")
        return " UNION ALL ".join(scans)

    def _branches(self) -> Iterator[tuple[dict[str, object], list[str]]]:
        """Yield, for each scan, the first columns of an index with their values, and what else must hold."""
        chosen = self._chosen
        owner: dict[str, object] = {} if chosen.owner_id is None else {"owner_id": chosen.owner_id}
        few = {name: value for name in _NAMES if (value := getattr(chosen, name)) is not None}
        if chosen.asset_ids is not None or "recording_id" in few:
            # Unique: these are looked up, and each is compared with all other filters.
            ids = chosen.asset_ids
            named = [] if ids is None else [f"asset_id = ANY({self._bind(ids)}::uuid[])"]
            yield {}, [*named, *self._equal(owner | few), *self._kinds()]
        elif few:
            (name, value), *others = few.items()
            column, key = (f"owner_id || ' ' || {name}", f"{chosen.owner_id} {value}") if owner else (name, str(value))
            conditions = [f"{name} IS NOT NULL", *self._equal(dict(others))]
            if name == "external_id" and (chosen.statuses or chosen.asset_types):
                column += " || ' ' || status || ' ' || asset_type"
                for status, asset_type in self._each_kind():
                    yield {f"({column})": f"{key} {status} {asset_type}"}, conditions
            else:  # a webinar has few recordings, which are looked through
                yield {f"({column})": key}, [*conditions, *self._kinds()]
        elif chosen.statuses or chosen.asset_types:
            for status, asset_type in self._each_kind():
                yield owner | {"status": status, "asset_type": asset_type}, []
        else:
            yield owner, ["status <> 'deleted'"]

    def _each_kind(self) -> Iterator[tuple[Status, AssetType]]:
        return product(self._chosen.statuses or _NOT_DELETED, self._chosen.asset_types or list(AssetType))

    def _equal(self, values: Mapping[str, object]) -> list[str]:
        return [f"{name} = {self._bind(value)}" for name, value in values.items()]

    def _kinds(self) -> list[str]:
        """Return what status and type must be, for a scan whose index does not lead to them."""
        statuses, types = self._chosen.statuses, self._chosen.asset_types
        by_type = [f"asset_type = ANY({self._bind(types)})"] if types else []
        return [f"status = ANY({self._bind(statuses)})" if statuses else "status <> 'deleted'", *by_type]

    def _bind(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"
