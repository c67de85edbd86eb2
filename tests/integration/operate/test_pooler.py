"""What is said when a pooler stands before Postgres. `MEDIA_TEST_POOLER=1` runs the tests behind a real one."""

import asyncpg
import pytest
from structlog.testing import capture_logs

from media.asset_store.recovery import paths_in_order
from media.errors import UnavailableError
from media.schema import apply as schema
from media.schema.apply import SchemaError
from media.schema.startup import check_at_start
from tests.conftest import Database


@pytest.fixture
def pooled(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database whose server is not the process that a connection was promised."""
    monkeypatch.setattr(asyncpg.Connection, "get_server_pid", lambda _: -1)
    return postgres.dsn


async def test_a_schema_is_checked_behind_a_pooler_and_applied_without(pooled: str) -> None:
    await schema.check(pooled)
    with pytest.raises(SchemaError, match="applied by Postgres' own address"):
        await schema.apply(pooled)


async def test_a_start_says_what_the_pooler_must_be(pooled: str) -> None:
    for cache, said in ((100, 1), (0, 0)):
        with capture_logs() as logs:
            await check_at_start(pooled, wait=0, statement_cache=cache)
        assert [entry["event"] for entry in logs].count("schema.pooler") == said


async def test_a_command_that_needs_a_session_says_so(pooled: str) -> None:
    with pytest.raises(UnavailableError, match="a pooler keeps no cursor"):
        _ = [path async for path in paths_in_order(pooled)]
