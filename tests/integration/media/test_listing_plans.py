"""No filter of a listing reads more than its page: what Postgres reads is counted, by either kind of plan."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from media.asset import AssetType, Status
from media.asset_store.listing import TOTAL_LIMIT, AssetFilter, PageRequest, PageStatement
from tests.conftest import TEMPLATE

ROWS = 20_000
LIMIT = 10
BLOCKS = 250
"""Blocks of 8 KiB that a page may read: a row and its renditions a few each, an index that is entered two or three."""
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
"""Assets are a minute apart."""

type Session = asyncpg.Connection[asyncpg.Record]

_FILL = """
INSERT INTO assets (asset_id, owner_id, asset_type, status, delivery, content_type, original_filename, bucket, key,
                    webinar_id, recording_id, external_id, created_at)
SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       CASE WHEN n % 4 = 0 THEN 'most' WHEN n % 4 = 1 THEN 'deleter' ELSE 'owner-' || n % 500 END,
       CASE WHEN n % 1000 = 7 THEN 'audio' WHEN n % 2 = 0 THEN 'image' ELSE 'video' END,
       CASE WHEN n IN (40, 41, 9000, 9001) THEN 'failed' WHEN n % 4 = 1 THEN 'deleted' WHEN n = 50 THEN 'pending'
            WHEN n % 8 < 4 THEN 'ready' ELSE 'rejected' END,
       'public', 'image/jpeg', 'photo.jpg', 'bucket', 'uploads/image/owner/' || n,
       CASE WHEN n % 2 = 0 THEN 'large' WHEN n % 100 = 3 THEN 'webinar-' || n END,
       CASE WHEN n % 10 = 0 THEN 'recording-' || n END,
       CASE WHEN n % 2 = 0 THEN 'large' WHEN n % 4 = 1 THEN 'dropped' WHEN n % 100 = 3 THEN 'external-' || n END,
       $1::timestamptz + n * interval '1 minute'
FROM generate_series(1, $2) AS n
"""
MINUTE = timedelta(minutes=1)
LARGE = AssetFilter(external_id="large")
FEW_OF_LARGE = AssetFilter(external_id="large", statuses=[Status.FAILED, Status.EXPIRED])
CASES: dict[str, tuple[AssetFilter, PageRequest]] = {
    name: (chosen, page)
    for name, chosen, page in (
        ("all", AssetFilter(), PageRequest()),
        ("oldest first", AssetFilter(), PageRequest(newest_first=False)),
        ("deep in all", AssetFilter(), PageRequest((BEGIN + 9000 * MINUTE, UUID(int=0)))),
        ("owner of most", AssetFilter(owner_id="most"), PageRequest()),
        ("owner whose assets are deleted", AssetFilter(owner_id="deleter"), PageRequest()),
        ("owner of few", AssetFilter(owner_id="owner-3"), PageRequest()),
        ("nobody", AssetFilter(owner_id="nobody"), PageRequest()),
        ("ids", AssetFilter(asset_ids=[uuid4() for _ in range(9)]), PageRequest()),
        ("a common status", AssetFilter(statuses=[Status.READY]), PageRequest()),
        ("a rare status", AssetFilter(statuses=[Status.FAILED]), PageRequest()),
        ("a status that none has", AssetFilter(statuses=[Status.EXPIRED]), PageRequest(newest_first=False)),
        ("rare statuses", AssetFilter(statuses=[Status.FAILED, Status.PENDING, Status.EXPIRED]), PageRequest()),
        ("a rare status of most", AssetFilter(owner_id="most", statuses=[Status.FAILED]), PageRequest()),
        ("no such status of most", AssetFilter(owner_id="most", statuses=[Status.DELETED]), PageRequest()),
        ("a common type", AssetFilter(asset_types=[AssetType.VIDEO]), PageRequest()),
        ("a rare type", AssetFilter(asset_types=[AssetType.AUDIO]), PageRequest()),
        ("no such type", AssetFilter(asset_types=[AssetType.DOCUMENT]), PageRequest()),
        ("a type that most has not", AssetFilter(owner_id="most", asset_types=[AssetType.VIDEO]), PageRequest()),
        ("all types", AssetFilter(asset_types=list(AssetType)), PageRequest()),
        (
            "a status and a type that never meet",
            AssetFilter(statuses=[Status.REJECTED, Status.DELETED], asset_types=[AssetType.DOCUMENT]),
            PageRequest(),
        ),
        ("a recording", AssetFilter(recording_id="recording-500"), PageRequest()),
        ("a small webinar", AssetFilter(webinar_id="webinar-103"), PageRequest()),
        ("a large webinar", AssetFilter(webinar_id="large"), PageRequest()),
        ("a large webinar, oldest first", AssetFilter(webinar_id="large"), PageRequest(newest_first=False)),
        ("an external id", AssetFilter(external_id="external-103"), PageRequest()),
        ("a common external id", AssetFilter(external_id="large"), PageRequest()),
        ("a rare status of a common external id", FEW_OF_LARGE, PageRequest()),
        ("a rare status of a common external id of most", replace(FEW_OF_LARGE, owner_id="most"), PageRequest()),
        ("a type that an external id has not", replace(LARGE, asset_types=[AssetType.VIDEO]), PageRequest()),
        (
            "a type that it has not of most",
            replace(LARGE, owner_id="most", asset_types=[AssetType.VIDEO]),
            PageRequest(),
        ),
        ("an external id of a webinar", replace(LARGE, webinar_id="webinar-103"), PageRequest()),
        ("an external id whose assets are deleted", AssetFilter(external_id="dropped"), PageRequest()),
        ("its deleted assets", AssetFilter(external_id="dropped", statuses=[Status.DELETED]), PageRequest()),
        ("it of their owner", AssetFilter(external_id="dropped", owner_id="deleter"), PageRequest()),
        ("a small webinar that most has not", AssetFilter(owner_id="most", webinar_id="webinar-103"), PageRequest()),
        ("an external id that most has not", AssetFilter(owner_id="most", external_id="external-103"), PageRequest()),
        ("a common external id of most", AssetFilter(owner_id="most", external_id="large"), PageRequest()),
        ("a common external id of others", AssetFilter(owner_id="owner-3", external_id="large"), PageRequest()),
        ("a time", AssetFilter(created_after=BEGIN + 70 * MINUTE, created_before=BEGIN + 90 * MINUTE), PageRequest()),
        (
            "deep in a time",
            AssetFilter(created_before=BEGIN + ROWS * MINUTE),
            PageRequest((BEGIN + 5000 * MINUTE, UUID(int=0))),
        ),
        ("a time of most", AssetFilter(owner_id="most", created_before=BEGIN + 90 * MINUTE), PageRequest()),
        (
            "a time of a status",
            AssetFilter(statuses=[Status.READY], created_after=BEGIN + 19_000 * MINUTE),
            PageRequest(newest_first=False),
        ),
    )
}


@pytest.fixture(scope="module")
async def session(postgres_server: Postgres) -> AsyncIterator[Session]:
    """A session on a database with ROWS assets, of which every fourth is deleted."""
    name = f"listing_{uuid4().hex}"
    await postgres_part.create_database(postgres_server, name, template=TEMPLATE)
    connection = await asyncpg.connect(postgres_server.dsn(name))
    try:
        await connection.execute("ALTER TABLE assets DISABLE TRIGGER ALL")
        await connection.execute(_FILL, BEGIN, ROWS)
        await connection.execute("VACUUM ANALYZE assets")
        yield connection
    finally:
        await connection.close()
        await postgres_part.drop_database(postgres_server, name)


def literal(value: Any) -> str:
    if isinstance(value, list):
        value = "{" + ",".join(map(str, value)) + "}"
    return str(value) if isinstance(value, int) else f"'{value}'"


async def explain(session: Session, statement: PageStatement, mode: str) -> dict[str, Any]:
    """Run a statement with a plan for its values, or with one for any values, and return the plan."""
    values = ", ".join(map(literal, statement.values))
    await session.execute(f"SET plan_cache_mode = {mode}")
    await session.execute(f"PREPARE page AS {statement.text}")
    try:
        told = await session.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE page ({values})")
    finally:
        await session.execute("DEALLOCATE page")
    plan: dict[str, Any] = json.loads(told)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def blocks(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", CASES)
async def test_filter_reads_little_more_than_its_page(session: Session, name: str, mode: str) -> None:
    chosen, page = CASES[name]
    asked = PageRequest(page.after, page.newest_first, LIMIT)
    plan = await explain(session, PageStatement(chosen, asked), mode)
    scanned = [node for node in nodes(plan) if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "assets"]
    assert not scanned
    assert blocks(plan) <= BLOCKS, json.dumps(plan, indent=1)
    assert plan["Actual Rows"] <= LIMIT + 1


@pytest.mark.parametrize("name", ["all", "owner of most", "a common status", "all types", "a large webinar"])
async def test_count_ends_at_its_limit(session: Session, name: str) -> None:
    chosen, _ = CASES[name]
    statement = PageStatement(chosen, PageRequest(limit=LIMIT, is_counted=True))
    plan = await explain(session, statement, "auto")
    assert max(node["Actual Rows"] for node in nodes(plan)) <= TOTAL_LIMIT + 1
    [total] = {record["total"] for record in await session.fetch(statement.text, *statement.values)}
    assert 4000 < total <= TOTAL_LIMIT + 1
    assert (total == TOTAL_LIMIT + 1) == (name in {"all", "all types"})
