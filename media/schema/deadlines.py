"""Deadlines that the server keeps itself: a session's defaults, written to its role in this database.

A client that is cut off cannot cancel what it asked for. A pooler refuses these as start-up parameters, and `SET` would
outlive the transaction there. Where the database or the role has another limit, that one stays.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

DEADLINES = {
    "statement_timeout": 10_000,
    "lock_timeout": 5_000,
    "idle_in_transaction_session_timeout": 30_000,
    "client_connection_check_interval": 2_000,
}
"""Milliseconds by parameter.

`statement_timeout` is longer than a client waits (STATEMENT_TIMEOUT), because its own cancel request comes first.
"""

_UNLIMITED = "SELECT name FROM pg_settings WHERE name = ANY($1::text[]) AND reset_val = '0'"
_WRITTEN = """
SELECT split_part(setting, '=', 1) FROM pg_db_role_setting, unnest(setconfig) AS setting
WHERE setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = $1))
  AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_ALTER = """
SELECT format('ALTER ROLE %I IN DATABASE %I SET %I = %s', $1::text, current_database(), $2::text, $3::int)
"""


async def missing(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """Return the deadlines that this session began without. One that the server does not know is not missing."""
    return sorted(row[0] for row in await connection.fetch(_UNLIMITED, list(DEADLINES)))


async def write(connection: "asyncpg.Connection[asyncpg.Record]", roles: Sequence[str] = ()) -> list[str]:
    """Set the deadlines that each role lacks in this database, for its next sessions. Return what was set.

    `roles` are the services' roles, without them the role that is connected. A role may set its own defaults; for
    others it needs their administration. Raises asyncpg.PostgresError.
    """
    names = await connection.fetch("SELECT name FROM pg_settings WHERE name = ANY($1::text[])", list(DEADLINES))
    known = {row[0] for row in names}
    written: list[str] = []
    for role in roles or [await connection.fetchval("SELECT current_user")]:
        there = {row[0] for row in await connection.fetch(_WRITTEN, role)}
        for name in sorted(known - there):
            # ALTER takes no parameters, so the server quotes the names.
            alter = await connection.fetchval(_ALTER, role, name, DEADLINES[name])
            await connection.execute(alter)
            written.append(f"{role}: {name}")
    return written
