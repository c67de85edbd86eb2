"""The recorded version is not trusted: the database's parts are compared with those that schema.sql makes."""

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
    """A database with the whole schema, for a test to damage."""
    name = f"parts_{uuid4().hex}"
    await postgres_part.create_database(postgres_server, name, template=TEMPLATE)
    yield postgres_server.dsn(name)
    await postgres_part.drop_database(postgres_server, name)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def test_schema_parts_is_up_to_date(
    database: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    assert await held(database) == expected(), "python -m media.schema list > media/schema/schema.parts"


[NOTIFY] = [part for part in expected() if part.startswith("function notify_asset ")]

REPAIRED = {
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
"""Damage that apply repairs, and the parts that are reported."""


@pytest.mark.parametrize("damage", REPAIRED)
async def test_missing_parts_are_named_and_restored(
    database: "asyncpg.Connection[asyncpg.Record]", dsn: str, damage: str
) -> None:
    await schema.check(dsn)
    await database.execute(damage)
    with pytest.raises(OlderSchemaError) as caught:
        await schema.check(dsn)
    assert "; ".join(REPAIRED[damage]) in str(caught.value)
    assert "python -m media.schema apply" in str(caught.value)
    assert await schema.ensure(dsn) is True
    await schema.check(dsn)
    assert await schema.apply(dsn) is False


IRREPARABLE = {
    "ALTER TABLE assets DROP COLUMN etag": "column assets.etag text",
    "ALTER TABLE stages DROP CONSTRAINT stages_state_check": "constraint stages.stages_state_check",
    "ALTER TABLE assets ALTER COLUMN width TYPE bigint": "column assets.width integer (there it is bigint)",
    "ALTER TABLE outbox ALTER COLUMN due_at DROP DEFAULT": (
        "column outbox.due_at timestamp with time zone not null default (there it is timestamp with time zone not null)"
    ),
}


@pytest.mark.parametrize("damage", IRREPARABLE)
async def test_irreparable_parts_are_named_and_nothing_changes(
    database: "asyncpg.Connection[asyncpg.Record]", dsn: str, damage: str
) -> None:
    await database.execute(damage)
    await database.execute("DROP INDEX outbox_due")
    for command in (schema.apply, schema.ensure):
        with pytest.raises(SchemaError) as caught:
            await command(dsn)
        assert f"does not bring back: {IRREPARABLE[damage]}. Most columns" in str(caught.value)
    assert "index outbox.outbox_due" not in await held(database)


async def test_newer_schema_may_change_everything_but_columns(
    database: "asyncpg.Connection[asyncpg.Record]", dsn: str
) -> None:
    await database.execute("INSERT INTO schema_version (version, oldest_code) VALUES ($1, 1)", schema.VERSION + 1)
    await database.execute("DROP INDEX outbox_due; ALTER TABLE assets ALTER COLUMN width TYPE bigint")
    await schema.check(dsn)
    await database.execute("ALTER TABLE assets DROP COLUMN etag")
    with pytest.raises(SchemaError, match=r"lacks of it: column assets\.etag text\. with the code of that schema"):
        await schema.ensure(dsn)


async def test_additional_parts_are_allowed(database: "asyncpg.Connection[asyncpg.Record]", dsn: str) -> None:
    await database.execute("CREATE TABLE theirs (x int); CREATE INDEX more ON assets (etag)")
    await database.execute("ALTER TABLE assets ADD COLUMN theirs text")
    await schema.check(dsn)


async def test_list_writes_the_parts(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDIA_DATABASE_URL", dsn)
    assert await asyncio.to_thread(schema_main.main, ["list"]) == 0
    assert capsys.readouterr().out.splitlines() == expected()


def test_missing_table_is_reported_without_its_parts() -> None:
    wanted = ["column a.x text", "constraint a.a_pkey", "index a.by_x", "table a", "table b", "trigger a.t"]
    assert missing(wanted, ["table b"]) == ["table a"]
