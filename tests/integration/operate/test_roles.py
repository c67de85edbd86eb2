"""The services work under roles that may do what they need and nothing else."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from media.asset_store.database import connect
from media.asset_store.recovery import paths_in_order
from media.schema import apply as schema
from media.schema import roles
from media.schema.apply import SchemaError
from media.schema.parts import expected
from tests.integration.operate.documentation import ROOT, run_command


@dataclass(frozen=True, slots=True)
class GuardedDatabase:
    """A database that the documented script made, with its schema, and everybody's address."""

    server: Postgres
    name: str

    def dsn(self, role: str) -> str:
        return self.server.dsn(self.name, user=role)


async def run_script(server: Postgres, name: str, folder: Path) -> None:
    """Run what `python -m media.schema roles` writes, twice, as the runbook says."""
    env = {"MEDIA_DATABASE_URL": server.dsn(name)}
    text = await run_command(".venv/bin/python", "-m", "media.schema", "roles", cwd=ROOT, env=env)
    for _ in range(2):
        psql = str(postgres_part.program("psql"))
        await run_command(psql, "-v", "ON_ERROR_STOP=1", server.dsn("postgres"), cwd=folder, given=text)


@pytest.fixture(scope="module")
async def guarded(
    postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GuardedDatabase]:
    """Share one database: its tests change nothing, or apply the schema again."""
    name = f'guarded "{uuid4().hex[:8]}'
    await run_script(postgres_server, name, tmp_path_factory.mktemp("guarded"))
    connection = await asyncpg.connect(postgres_server.dsn("postgres"))
    logins = [roles.OWNER, *roles.RIGHTS, *(f"{role}{roles.SECOND}" for role in roles.RIGHTS)]
    for role in logins:
        await connection.execute(f"ALTER ROLE {role} PASSWORD '{postgres_server.password}'")
    await schema.apply(postgres_server.dsn(name, user=roles.OWNER))
    yield GuardedDatabase(postgres_server, name)
    await connection.execute(f'DROP DATABASE "{name.replace(chr(34), chr(34) * 2)}" WITH (FORCE)')
    await connection.close()


def test_every_table_is_somebodys() -> None:
    tables = {part.removeprefix("table ") for part in expected() if part.startswith("table ")}
    assert {table for rights in roles.RIGHTS.values() for table in rights} == tables


FORBIDDEN = [
    (roles.CONSUMER, "CREATE TABLE extra (id int)"),
    (roles.CONSUMER, "DROP TABLE outbox"),
    (roles.CONSUMER, "ALTER TABLE assets ADD COLUMN extra int"),
    (roles.CONSUMER, "TRUNCATE assets CASCADE"),
    (roles.CONSUMER, "SELECT * FROM callbacks"),
    (roles.CONSUMER, "UPDATE timeline SET detail = ''"),
    (roles.CONSUMER, "UPDATE schema_version SET version = 99"),
    (roles.API, "DROP TABLE outbox"),
    (roles.API, "DELETE FROM assets"),
    (roles.API, "UPDATE timeline SET detail = ''"),
    (roles.API, "INSERT INTO renditions VALUES (gen_random_uuid(), 'w150', 'k', 'image/webp', 1, 1, 1, 1, 1)"),
    (roles.API, "UPDATE renditions SET key = 'another'"),
    (roles.API, "DELETE FROM consumers"),
    (roles.API, f"SET ROLE {roles.OWNER}"),
    (roles.API, f"SET ROLE {roles.CONSUMER}"),
]


@pytest.mark.parametrize(("role", "statement"), FORBIDDEN)
async def test_what_a_service_does_not_need_is_refused(guarded: GuardedDatabase, role: str, statement: str) -> None:
    connection = await asyncpg.connect(guarded.dsn(role))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_nobody_else_can_connect(guarded: GuardedDatabase) -> None:
    connection = await asyncpg.connect(guarded.server.dsn("postgres"))
    stranger = f"stranger_{uuid4().hex[:8]}"
    await connection.execute(f"CREATE ROLE {stranger} LOGIN PASSWORD '{guarded.server.password}'")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(guarded.dsn(stranger))
    finally:
        await connection.execute(f"DROP ROLE {stranger}")
        await connection.close()


@pytest.mark.parametrize("role", list(roles.RIGHTS))
async def test_second_role_has_the_same_rights(guarded: GuardedDatabase, role: str) -> None:
    async with connect(guarded.dsn(role + roles.SECOND)) as database:
        for table, rights in roles.RIGHTS[role].items():
            for right in rights.split(", "):
                assert await database.fetchval("SELECT has_table_privilege($1, $2)", table, right), (table, right)


@pytest.mark.parametrize("role", list(roles.RIGHTS))
async def test_service_starts_on_a_schema_that_its_owner_applied(guarded: GuardedDatabase, role: str) -> None:
    await schema.ensure(guarded.dsn(role))
    owner = await asyncpg.connect(guarded.dsn(roles.OWNER))
    await owner.execute("ALTER TABLE assets DROP COLUMN part_size")
    with pytest.raises(SchemaError, match=r"run `python -m media.schema apply` as its owner first"):
        await schema.ensure(guarded.dsn(role))
    assert await schema.apply(guarded.dsn(roles.OWNER))
    await schema.ensure(guarded.dsn(role))
    await owner.close()


async def test_rights_that_somebody_added_are_taken_back(guarded: GuardedDatabase) -> None:
    owner = await asyncpg.connect(guarded.dsn(roles.OWNER))
    await owner.execute(f"GRANT ALL ON schema_version, callbacks TO {roles.CONSUMER}")
    await schema.apply(guarded.dsn(roles.OWNER))
    held = (
        "SELECT has_table_privilege($1, 'callbacks', 'SELECT') OR has_table_privilege($1, 'schema_version', 'UPDATE')"
    )
    assert not await owner.fetchval(held, roles.CONSUMER)
    await owner.close()


async def test_paths_can_be_listed_by_the_consumer(guarded: GuardedDatabase) -> None:
    assert [path async for path in paths_in_order(guarded.dsn(roles.CONSUMER))] == []
    assert urlsplit(guarded.dsn(roles.CONSUMER)).username == roles.CONSUMER


@pytest.mark.parametrize("role", roles.RIGHTS)
async def test_service_that_applies_the_schema_is_told_who_may(guarded: GuardedDatabase, role: str) -> None:
    with pytest.raises(SchemaError, match=r"may not change the schema .* as its owner first"):
        await schema.apply(guarded.dsn(role))


async def test_script_for_no_database_is_refused() -> None:
    command = (".venv/bin/python", "-m", "media.schema", "roles")
    assert await run_command(*command, cwd=ROOT, env={"MEDIA_DATABASE_URL": "postgresql://host/"}, status=2) == ""
