"""PgBouncer in transaction mode before a Postgres, and our connections through it: `MEDIA_TEST_POOLER=1 ./test.sh`.

`MEDIA_TEST_POOLER` is 1, or names the program. What belongs to the service goes through the pooler, with the statement
cache off, as behind Debian 12's PgBouncer; a test's own connections, and those that change a schema, go to Postgres.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import asyncpg

from deploy.local import child, postgres
from deploy.local.child import Program
from deploy.local.ports import HOST, free_port

LISTENER = "media-changes"
"""Connections of an API of the version before, which waits for notifications."""


def program() -> str | None:
    """Return the path of PgBouncer, where tests are to use it, or None. Raises FileNotFoundError."""
    asked = os.environ.get("MEDIA_TEST_POOLER")
    if not asked:
        return None
    if found := shutil.which("pgbouncer" if asked == "1" else asked):
        return found
    raise FileNotFoundError(f"MEDIA_TEST_POOLER={asked}: there is no PgBouncer")


@asynccontextmanager
async def pooler(server: postgres.Postgres, command: str) -> AsyncIterator[int]:
    """Run a PgBouncer before the server. Yield its port."""
    port = free_port()
    with TemporaryDirectory(prefix="pooler-", dir="/tmp") as name:
        folder = Path(name)
        await asyncio.to_thread(folder.chmod, 0o755)
        (folder / "users").write_text(f'"{postgres.USER}" "{server.password}"\n')  # it asks Postgres about the others
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={HOST} port={server.port}\n[pgbouncer]\nlisten_addr = {HOST}\n"
            f"listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {folder / 'users'}\n"
            f"auth_user = {postgres.USER}\npool_mode = transaction\n"
            "unix_socket_dir =\nmax_client_conn = 2000\ndefault_pool_size = 20\nserver_login_retry = 1\n"
        )
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        started = await child.start(
            Program(
                name="pgbouncer",
                argv=[command, *user, str(folder / "pgbouncer.ini")],
                env=child.base_environment() | {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"},
                cwd=Path("/"),
                stop_signal=signal.SIGTERM,
            ),
            folder,
        )
        try:
            await started.until_ready(lambda: _listens(port))
            yield port
        finally:
            await started.stop()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def through_pooler(server: postgres.Postgres) -> AsyncIterator[None]:
    """Lead the service's connections to this server through a pooler, if tests are to use one."""
    command = program()
    if command is None:
        yield
        return
    connect = asyncpg.connect
    async with pooler(server, command) as port:

        async def redirected(dsn: str, **options: Any) -> Any:
            application = options.get("server_settings", {}).get("application_name", "")
            ours = application.startswith("media") and application != LISTENER
            if ours and urlsplit(dsn).port == server.port:
                dsn = dsn.replace(f":{server.port}/", f":{port}/")
                options["statement_cache_size"] = 0
            return await connect(dsn, **options)

        with patch.object(asyncpg, "connect", redirected):
            yield
