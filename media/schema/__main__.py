"""`python -m media.schema apply|check|ensure|list`: the database is the one of `MEDIA_DATABASE_URL`."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping

import asyncpg

from media.schema.apply import SchemaError, apply, check, ensure, show
from media.setting_rules import postgres_dsn

COMMANDS: Mapping[str, Callable[[str], Awaitable[bool | None]]] = {
    "apply": apply,
    "check": check,
    "ensure": ensure,
    "list": show,
}


def main(arguments: list[str]) -> int:
    """Exit status 0 done, 1 the schema is another one or the database away, 2 wrong usage, 130 interrupted."""
    dsn = os.environ.get("MEDIA_DATABASE_URL", "")
    if len(arguments) != 1 or arguments[0] not in COMMANDS or not dsn:
        sys.stderr.write(f"usage: MEDIA_DATABASE_URL=postgresql://… python -m media.schema {'|'.join(COMMANDS)}\n")
        return 2
    try:
        address = postgres_dsn(dsn)
    except ValueError as error:
        sys.stderr.write(f"MEDIA_DATABASE_URL: {error}\n")
        return 2
    try:
        return asyncio.run(_carried_out(COMMANDS[arguments[0]], address))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: a schema is applied as a whole or not at all; check tells which\n")
        return 130


async def _carried_out(command: Callable[[str], Awaitable[bool | None]], dsn: str) -> int:
    try:
        await command(dsn)
    except TimeoutError:
        sys.stderr.write("the database did not answer in time\n")
        return 1
    except (SchemaError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
