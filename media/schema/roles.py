"""The roles of the database, each with the rights that it needs: the schema's owner, the consumer, the API.

`python -m media.schema roles` writes the SQL that makes them and the database. `apply` grants the rights on tables
each time, to those roles that are there: a new table needs no further step.
"""

import sys
from urllib.parse import unquote, urlsplit

import asyncpg

OWNER, CONSUMER, API = "media_owner", "media_consumer", "media_api"
SECOND = "_second"
"""Suffix of a role with the same rights and another password. While passwords are rotated, both can log in."""

RIGHTS = {
    CONSUMER: {
        "schema_version": "SELECT",
        "assets": "SELECT, INSERT, UPDATE, DELETE",
        "stages": "SELECT, INSERT, UPDATE",
        "renditions": "SELECT, INSERT, UPDATE, DELETE",
        "timeline": "SELECT, INSERT, DELETE",
        "positions": "SELECT, INSERT, UPDATE",
        "outbox": "SELECT, INSERT, UPDATE, DELETE",
        "event_outbox": "SELECT, INSERT, UPDATE, DELETE",
        "event_buses": "SELECT, INSERT, DELETE",
        "consumers": "SELECT, INSERT, UPDATE, DELETE",
        "leases": "SELECT, INSERT, UPDATE, DELETE",
        "changes": "SELECT, INSERT, DELETE",
        "change_feed": "SELECT, INSERT, UPDATE",
    },
    API: {
        "schema_version": "SELECT",
        "assets": "SELECT, INSERT, UPDATE",
        "stages": "SELECT, INSERT, UPDATE",
        "renditions": "SELECT, DELETE",
        "timeline": "SELECT, INSERT",
        "positions": "SELECT",
        "outbox": "SELECT, INSERT, DELETE",
        "event_outbox": "INSERT",
        "event_buses": "SELECT",
        "consumers": "SELECT",
        "callbacks": "SELECT, INSERT, UPDATE, DELETE",
        "changes": "SELECT, INSERT",
        "change_feed": "SELECT, INSERT",
    },
}
"""What each service may do, by table. Rows that go with their asset are deleted by Postgres, as the owner."""

CREATE_ROLES = "\n".join(
    f"DO $$ BEGIN CREATE ROLE {name} LOGIN{f' IN ROLE {group}' if group else ''};"
    " EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
    for name, group in [
        (OWNER, ""),
        *((service, "") for service in RIGHTS),
        *((service + SECOND, service) for service in RIGHTS),
    ]
)
"""Makes those roles that are not there. They have no password yet, so nobody can log in as one."""


def script(database: str) -> str:
    """Return the SQL that makes the roles and the database, for psql as the server's administrator. May run twice."""
    name = '"' + database.replace('"', '""') + '"'
    literal = "'" + database.replace("'", "''") + "'"
    created = f"format('CREATE DATABASE %I OWNER {OWNER} TEMPLATE template0 ENCODING UTF8', {literal})"
    lines = [
        CREATE_ROLES,
        f"GRANT {OWNER} TO CURRENT_USER;",
        f"SELECT {created} WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = {literal}) \\gexec",  # noqa: S608 - quoted above
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC;",
        f"GRANT CONNECT ON DATABASE {name} TO {', '.join(RIGHTS)};",
    ]
    return "\n".join(lines) + "\n"


async def grant(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Give each service's role that is there its rights on our tables, and take others away. The owner calls this."""
    there = {
        r["rolname"] for r in await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY($1)", [*RIGHTS])
    }
    async with connection.transaction():
        for role in there:
            for table in sorted({name for rights in RIGHTS.values() for name in rights}):
                await connection.execute(f"REVOKE ALL ON {table} FROM {role}")
                if rights := RIGHTS[role].get(table):
                    await connection.execute(f"GRANT {rights} ON {table} TO {role}")


async def show(dsn: str) -> None:
    """Write the script for the database that `dsn` names to standard output. Nothing is asked of it."""
    sys.stdout.write(script(unquote(urlsplit(dsn).path.lstrip("/"))))
