"""A version that is recorded is not believed: what the database holds is compared with what schema.sql makes."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from media.schema import __main__ as schema_main
from media.schema import apply as schema
from media.schema.apply import OlderSchemaError, SchemaError
from media.schema.parts import expected, held, missing
from tests.conftest import TEMPLATE


@pytest.fixture
async def dsn(postgres_server: Postgres) -> AsyncIterator[str]:
    """A database that has everything, to take something from."""
    name = f"parts_{uuid4().hex}"
    await postgres_part.create_database(postgres_server, name, template=TEMPLATE)
    yield postgres_server.dsn(name)
    await postgres_part.drop_database(postgres_server, name)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def test_the_list_beside_the_schema_says_what_it_makes(
    database: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    assert await held(database) == expected(), "python -m media.schema list > media/schema/schema.parts"


[NOTIFY] = [part for part in expected() if part.startswith("function notify_asset ")]

MENDED = {
    "ALTER TABLE stages DROP COLUMN swept_at": [
        "column stages.swept_at timestamp with time zone",
        "index stages.stages_unswept",
    ],
    "DROP INDEX outbox_due": ["index outbox.outbox_due"],
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'outbox_due'::regclass; DROP INDEX timeline_by_asset": [
        "index outbox.outbox_due",
        "index timeline.timeline_by_asset",
    ],
    "DROP TRIGGER assets_notify ON assets": ["trigger assets.assets_notify"],
    "DROP FUNCTION notify_asset CASCADE": [NOTIFY, "trigger assets.assets_notify"],
    "CREATE OR REPLACE FUNCTION notify_asset() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'": [NOTIFY],
    "DROP TABLE consumers": ["table consumers"],
}
"""What a hand may have done, and what is said of it; to apply mends it, once an index that is not valid is gone."""


@pytest.mark.parametrize("harm", MENDED)
async def test_what_is_missing_is_named_and_brought_back(
    database: "asyncpg.Connection[asyncpg.Record]", dsn: str, harm: str
) -> None:
    await schema.check(dsn)
    await database.execute(harm)
    with pytest.raises(OlderSchemaError) as told:
        await schema.check(dsn)
    assert "; ".join(MENDED[harm]) in str(told.value)
    assert "python -m media.schema apply" in str(told.value)
    if "indisvalid" in harm:
        with pytest.raises(SchemaError, match=r"bring back: index outbox\.outbox_due\. .* must be dropped first"):
            await schema.ensure(dsn)
        await database.execute("DROP INDEX outbox_due")
    assert await schema.ensure(dsn) is True
    await schema.check(dsn)
    assert await schema.apply(dsn) is False


LOST = {
    "ALTER TABLE assets DROP COLUMN etag": "column assets.etag text",
    "ALTER TABLE stages DROP CONSTRAINT stages_state_check": "constraint stages.stages_state_check",
    "ALTER TABLE assets ALTER COLUMN width TYPE bigint": "column assets.width integer (there it is bigint)",
    "ALTER TABLE outbox ALTER COLUMN due_at DROP DEFAULT": (
        "column outbox.due_at timestamp with time zone not null default (there it is timestamp with time zone not null)"
    ),
}


@pytest.mark.parametrize("harm", LOST)
async def test_what_apply_cannot_bring_back_is_named_and_nothing_changes(
    database: "asyncpg.Connection[asyncpg.Record]", dsn: str, harm: str
) -> None:
    await database.execute(harm)
    await database.execute("DROP INDEX outbox_due")
    for command in (schema.apply, schema.ensure):
        with pytest.raises(SchemaError) as told:
            await command(dsn)
        assert f"does not bring back: {LOST[harm]}. Most columns" in str(told.value)
    assert "index outbox.outbox_due" not in await held(database)


async def test_a_newer_schema_may_have_changed_all_but_the_columns(
    database: "asyncpg.Connection[asyncpg.Record]", dsn: str
) -> None:
    await database.execute("INSERT INTO schema_version (version, oldest_code) VALUES ($1, 1)", schema.VERSION + 1)
    await database.execute("DROP INDEX outbox_due; ALTER TABLE assets ALTER COLUMN width TYPE bigint")
    await schema.check(dsn)
    await database.execute("ALTER TABLE assets DROP COLUMN etag")
    with pytest.raises(SchemaError, match=r"lacks of it: column assets\.etag text\. with the code of that schema"):
        await schema.ensure(dsn)


async def test_more_than_ours_is_nobody_s_business(database: "asyncpg.Connection[asyncpg.Record]", dsn: str) -> None:
    await database.execute("CREATE TABLE theirs (x int); CREATE INDEX more ON assets (etag)")
    await database.execute("ALTER TABLE assets ADD COLUMN theirs text")
    await schema.check(dsn)


async def test_list_writes_what_is_there(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDIA_DATABASE_URL", dsn)
    assert await asyncio.to_thread(schema_main.main, ["list"]) == 0
    assert capsys.readouterr().out.splitlines() == expected()


def test_of_a_table_that_is_gone_the_table_alone_is_told() -> None:
    wanted = ["column a.x text", "constraint a.a_pkey", "index a.by_x", "table a", "table b", "trigger a.t"]
    assert missing(wanted, ["table b"]) == ["table a"]
