"""Listings with filters, in both orders, page by page, counted."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest

from tests.integration.api.conftest import MEDIA, RunningApi

SERVICE = {"subject": "ms-6", "claims": {"role": "service"}}
OWNERS = ("listed-1", "listed-2")
"""No other test has assets of these."""

type Row = dict[str, Any]


@pytest.fixture(scope="module")
async def rows(shared_api: RunningApi) -> AsyncIterator[list[Row]]:
    """Forty assets of two owners, oldest first, of all types and statuses."""
    database = shared_api.service.database
    await database.execute(
        "INSERT INTO assets (asset_id, owner_id, asset_type, status, delivery, content_type, original_filename, bucket,"
        " key, webinar_id, recording_id, external_id, created_at)"
        " SELECT gen_random_uuid(), 'listed-' || (1 + n % 2), ($1::text[])[1 + n % 4], ($2::text[])[1 + n % 7],"
        " 'public', 't', 'f', 'b', 'k', CASE WHEN n % 3 > 0 THEN 'webinar-' || n % 4 END,"
        " CASE WHEN n % 5 = 0 THEN 'listed-' || n END,"
        " CASE WHEN n % 3 > 0 THEN 'external-' || n % 4 END, '2024-01-01Z'::timestamptz + n / 2 * interval '1 hour'"
        " FROM generate_series(0, 39) AS n",
        ["image", "video", "audio", "document"],
        ["ready", "failed", "ready", "deleted", "ready", "pending", "rejected"],
    )
    found = await database.fetch(
        "SELECT * FROM assets WHERE owner_id = ANY($1) ORDER BY created_at, asset_id", list(OWNERS)
    )
    yield [dict(row) | {"asset_id": str(row["asset_id"])} for row in found]
    await database.execute("DELETE FROM assets WHERE owner_id = ANY($1)", list(OWNERS))


async def ask(api: RunningApi, query: dict[str, Any], subject: str = OWNERS[0], **options: Any) -> Any:
    status, page = await api.call("GET", f"{MEDIA}/assets?{urlencode(query, doseq=True)}", subject, **options)
    assert status == 200, page
    return page


async def follow(api: RunningApi, query: dict[str, Any], **options: Any) -> list[str]:
    """Return the ids of all pages."""
    page = await ask(api, query, **options)
    ids = [item["asset_id"] for item in page["items"]]
    while page["next_cursor"]:
        page = await ask(api, query | {"cursor": page["next_cursor"]}, **options)
        ids += [item["asset_id"] for item in page["items"]]
    return ids


def chosen(rows: list[Row], query: dict[str, Any]) -> list[str]:
    """Return the ids that a query must find, computed from the rows one by one."""
    after, before = (
        datetime.fromisoformat(query[name]) if name in query else None for name in ("created_after", "created_before")
    )
    ids = [
        row["asset_id"]
        for row in rows
        if row["owner_id"] == query.get("owner_id", OWNERS[0])
        and row["status"] in query.get("status", {"ready", "failed", "pending", "rejected"})
        and row["asset_type"] in query.get("asset_type", [row["asset_type"]])
        and row["asset_id"] in query.get("asset_id", [row["asset_id"]])
        and all(row[name] == query[name] for name in ("webinar_id", "recording_id", "external_id") if name in query)
        and (after is None or row["created_at"] > after)
        and (before is None or row["created_at"] < before)
    ]
    return ids if query.get("sort") == "created_at" else ids[::-1]


QUERIES: list[dict[str, Any]] = [
    {},
    {"asset_type": ["video"]},
    {"asset_type": ["video", "image"]},
    {"status": ["failed"]},
    {"status": ["failed", "deleted", "ready"]},
    {"status": ["ready"], "asset_type": ["image", "audio"]},
    {"status": ["expired"]},
    {"webinar_id": "webinar-1"},
    {"webinar_id": "webinar-1", "status": ["deleted"]},
    {"external_id": "external-2"},
    {"external_id": "external-2", "asset_type": ["audio"]},
    {"recording_id": "listed-10"},
    {"recording_id": "unknown"},
    {"created_after": "2024-01-01T05:00:00Z"},
    {"created_before": "2024-01-01T05:00:00+00:00"},
    {"created_after": "2024-01-01T04:00:00Z", "created_before": "2024-01-01T15:30:00.5+02:00"},
    {"created_after": "2024-01-01T04:00:00Z", "created_before": "2024-01-01T16:00:00Z", "status": ["ready"]},
    {"created_after": "2024-01-02T00:00:00Z", "created_before": "2024-01-01T00:00:00Z"},
]


@pytest.mark.parametrize("order", ["-created_at", "created_at"])
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: urlencode(query, doseq=True) or "all")
async def test_filters_hold_on_every_page(shared_api: RunningApi, rows: list[Row], query: Any, order: str) -> None:
    query = query | {"sort": order}
    assert await follow(shared_api, query | {"limit": 3}) == chosen(rows, query)
    assert await follow(shared_api, query | {"limit": 100}) == chosen(rows, query)
    page = await ask(shared_api, query | {"limit": 1, "count": "true"})
    assert (page["total"], page["total_is_more"]) == (len(chosen(rows, query)), False)


async def test_roles_list_the_assets_of_one_owner(shared_api: RunningApi, rows: list[Row]) -> None:
    for query in ({"owner_id": OWNERS[1]}, {"owner_id": OWNERS[1], "status": ["failed", "ready"]}):
        assert await follow(shared_api, query | {"limit": 4}, **SERVICE) == chosen(rows, query)
    status, problem = await shared_api.call("GET", f"{MEDIA}/assets?owner_id={OWNERS[0]}", OWNERS[0])
    assert (status, problem["errors"][0]["field"]) == (422, "owner_id")


async def test_assets_are_listed_by_their_ids(shared_api: RunningApi, rows: list[Row]) -> None:
    ids = [row["asset_id"] for row in rows]
    assert await follow(shared_api, {"asset_id": ids, "limit": 40}) == chosen(rows, {"asset_id": ids})
    for query in ({"asset_id": ids, "status": ["deleted"]}, {"asset_id": ids[:9], "asset_type": ["video", "image"]}):
        assert await follow(shared_api, query | {"limit": 40}) == chosen(rows, query)
    assert await follow(shared_api, {"asset_id": [uuid4()]}) == []
    page = await ask(shared_api, {"asset_id": ids, "count": "true", "limit": 40})
    assert page["total"] == len(page["items"])


async def test_total_is_told_on_a_page_without_assets(shared_api: RunningApi) -> None:
    older, newer = [(await shared_api.announce("listed-3"))["asset_id"] for _ in range(2)]
    query = {"count": "true", "limit": 1}
    page = await ask(shared_api, query, "listed-3")
    assert ([item["asset_id"] for item in page["items"]], page["total"]) == ([newer], 2)
    await shared_api.call("DELETE", f"{MEDIA}/assets/{older}", "listed-3")
    last = await ask(shared_api, query | {"cursor": page["next_cursor"]}, "listed-3")
    assert (last["items"], last["next_cursor"], last["total"]) == ([], None, 1)
    page = await ask(shared_api, {})
    assert (page["total"], page["total_is_more"]) == (None, False)


async def test_a_last_page_that_is_full_leads_to_no_other(shared_api: RunningApi, rows: list[Row]) -> None:
    for query in ({}, {"status": ["failed"]}, {"external_id": "external-2"}):
        ids = chosen(rows, query)
        page = await ask(shared_api, query | {"limit": len(ids)})
        assert ([item["asset_id"] for item in page["items"]], page["next_cursor"]) == (ids, None)
        assert (await ask(shared_api, query | {"limit": len(ids) - 1}))["next_cursor"]


async def test_cursor_holds_for_its_filters(shared_api: RunningApi, rows: list[Row]) -> None:
    query = {"status": ["ready", "failed"], "limit": 2}
    cursor = (await ask(shared_api, query))["next_cursor"]
    same = await ask(shared_api, {"status": ["failed", "ready"], "limit": 5, "count": "true", "cursor": cursor})
    assert len(same["items"]) == 5
    since = (rows[0]["created_at"] - timedelta(days=1)).isoformat()
    for other in (
        {"status": ["ready"]},
        {"status": ["ready", "failed"], "sort": "created_at"},
        {"status": ["ready", "failed"], "asset_type": ["image"]},
        {"status": ["ready", "failed"], "created_after": since},
        {},
    ):
        path = f"{MEDIA}/assets?{urlencode(other | {'cursor': cursor}, doseq=True)}"
        status, problem = await shared_api.call("GET", path, OWNERS[0])
        assert (status, problem["code"]) == (422, "invalid_request"), other


@pytest.mark.parametrize(
    "query",
    [
        {"asset_id": [UUID(int=number) for number in range(51)]},
        {"asset_id": [UUID(int=number) for number in range(101)], "limit": 100},
        {"asset_id": "x"},
        {"status": ["ready", "lost"]},
        {"webinar_id": ["a", "b"]},
        {"webinar_id": "a\0"},
        {"external_id": ""},
        {"owner_id": "a b"},
        {"created_after": "2024-01-01"},
        {"created_after": "2024-01-01T00:00:00"},
        {"created_after": "1700000000"},
        {"created_before": "0001-01-01T00:00:00+14:00"},
        {"created_before": "9999-12-31T23:59:59-12:00"},
        {"sort": "size"},
        {"count": "perhaps"},
    ],
    ids=lambda query: urlencode(query, doseq=True)[-60:],
)
async def test_unusable_filters_are_refused(shared_api: RunningApi, query: Any) -> None:
    path = f"{MEDIA}/assets?{urlencode(query, doseq=True)}"
    status, problem = await shared_api.call("GET", path, "ms-6", claims={"role": "service"})
    assert (status, problem["code"]) == (422, "invalid_request")
