"""Run `python -m media.schema apply|check|ensure|list|roles` on the database of `MEDIA_DATABASE_URL`."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from media.errors import UnavailableError
from media.schema import roles
from media.schema.apply import SchemaError, apply, check, ensure, show
from media.schema.startup import when_available
from media.setting_rules import postgres_dsn

WAIT = 60.0
"""Seconds to wait while Postgres is away, starts or is full. Half of what ECS allows a container that others await."""

COMMANDS: Mapping[str, Callable[[str], Coroutine[Any, Any, object]]] = {
    "apply": apply,
    "check": check,
    "ensure": ensure,
    "list": show,
    "roles": roles.show,
}


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit status.

    0 done, 1 another schema or a database that is down, 2 wrong usage, 130 interrupted.
    """
    dsn = os.environ.get("MEDIA_DATABASE_URL", "")
    if len(arguments) != 1 or arguments[0] not in COMMANDS or not dsn:
        sys.stderr.write(f"usage: MEDIA_DATABASE_URL=postgresql://… python -m media.schema {'|'.join(COMMANDS)}\n")
        return 2
    try:
        address = postgres_dsn(dsn)
        if arguments == ["roles"] and not urlsplit(address).path.strip("/"):
            raise ValueError("it names no database, which the roles are for")  # noqa: TRY301 - one end for wrong addresses
    except ValueError as error:
        sys.stderr.write(f"MEDIA_DATABASE_URL: {error}\n")
        return 2
    try:
        asyncio.run(when_available(lambda: COMMANDS[arguments[0]](address), wait=WAIT))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: a schema is applied as a whole or not at all; check tells which\n")
        return 130
    except TimeoutError:
        sys.stderr.write("the database did not answer in time\n")
        return 1
    except (SchemaError, UnavailableError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
