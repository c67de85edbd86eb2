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
from media.telemetry import configure_logging, explain_failure, log_uncaught, writes_json

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
    dsn, log_format = os.environ.get("MEDIA_DATABASE_URL", ""), _log_format()
    if len(arguments) != 1 or arguments[0] not in COMMANDS or not dsn:
        usage = f"usage: MEDIA_DATABASE_URL=postgresql://… python -m media.schema {'|'.join(COMMANDS)}"
        explain_failure(usage, log_format)
        return 2
    try:
        address = postgres_dsn(dsn)
        if arguments == ["roles"] and not urlsplit(address).path.strip("/"):
            raise ValueError("it names no database, which the roles are for")  # noqa: TRY301 - one end for wrong addresses
    except ValueError as error:
        explain_failure(f"MEDIA_DATABASE_URL: {error}", log_format)
        return 2
    try:
        asyncio.run(when_available(lambda: COMMANDS[arguments[0]](address), wait=WAIT))
    except KeyboardInterrupt:
        explain_failure("interrupted: check tells what is missing; apply goes on from there", log_format)
        return 130
    except TimeoutError:
        explain_failure("the database did not answer in time", log_format)
        return 1
    except (SchemaError, UnavailableError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        explain_failure(error, log_format)
        return 1
    return 0


def _log_format() -> str:
    return os.environ.get("MEDIA_LOG_FORMAT") or "auto"


if __name__ == "__main__":
    # Results go to standard output, so the log goes to standard error. ECS collects both.
    configure_logging("json" if writes_json(_log_format(), sys.stderr) else "console", "info", sys.stderr)
    log_uncaught()
    sys.exit(main(sys.argv[1:]))
