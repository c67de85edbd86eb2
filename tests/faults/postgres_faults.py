"""What real servers do to those who depend on them: a Postgres of its own that becomes read-only, locked, full, …"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from deploy.local import ports
from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from media.schema import apply as schema
from media.schema import deadlines

ROLE, PASSWORD = "service", "made up"
MAX_CONNECTIONS = 60
WAIT = 20.0


@dataclass(slots=True)
class PostgresFaults:
    """Faults of one database. `admin` is a superuser's connection, `dsn` is the services', who are none."""

    server: Postgres
    name: str
    admin: "asyncpg.Connection[asyncpg.Record]"

    @property
    def dsn(self) -> str:
        return f"postgresql://{ROLE}:{PASSWORD.replace(' ', '%20')}@{ports.HOST}:{self.server.port}/{self.name}"

    async def backends(self, application: str = "media-%") -> int:
        """Count the server's sessions of the services."""
        statement = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND application_name LIKE $2"
        return int(await self.admin.fetchval(statement, ROLE, application))

    async def become_read_only(self) -> None:
        """Demote the writer: its sessions, and those that still come to it, cannot write any more."""
        await self.admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await self.admin.execute("SELECT pg_reload_conf()")

    async def promote_another(self) -> None:
        """Let the name lead to the new writer. The old sessions stay where they are, and stay read-only."""
        await self.admin.execute(f"ALTER DATABASE {self.name} SET default_transaction_read_only = off")

    async def heal(self) -> None:
        """Undo `become_read_only` and `promote_another`."""
        await self.admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await self.admin.execute("SELECT pg_reload_conf()")
        await self.admin.execute(f"ALTER DATABASE {self.name} RESET default_transaction_read_only")

    async def empty(self) -> None:
        """Forget all assets. What daemons of earlier tests left behind is ended first: it may hold tables."""
        await self.end_sessions()
        await self.admin.execute("TRUNCATE assets CASCADE")

    async def end_sessions(self) -> None:
        """End every session of the services, as a restart does."""
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'media-%'"
        await self.admin.execute(statement)

    async def change_password(self, password: str = PASSWORD) -> None:
        await self.admin.execute(f"ALTER ROLE {ROLE} PASSWORD '{password}'")

    @asynccontextmanager
    async def locked(self, table: str = "assets") -> AsyncIterator[None]:
        """Hold a table as an ALTER does. It waits for the transactions that use it, such as commits that wait."""
        holder = await asyncpg.connect(self.server.dsn(self.name), server_settings={"lock_timeout": "0"})
        try:
            async with holder.transaction():
                await holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                yield
        finally:
            await holder.close()

    @asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """Take every connection that the server has for those who are no superusers."""
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(WAIT):
                while True:
                    await self.end_sessions()
                    try:
                        connection = await asyncpg.connect(self.dsn, server_settings={"application_name": "filler"})
                    except asyncpg.TooManyConnectionsError:
                        if not await self.backends():
                            break
                    else:
                        stack.push_async_callback(connection.close)
            yield


@asynccontextmanager
async def start_postgres(folder: Path) -> AsyncIterator[PostgresFaults]:
    """Start a server that other tests do not use, with a database for a role that is no superuser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(postgres_part.OPTIONS, "max_connections", str(MAX_CONNECTIONS))
        server = await postgres_part.start(folder, ports.free_port(), folder, uuid4().hex)
    try:
        name = "faults"
        await postgres_part.create_database(server, name)
        await schema.apply(server.dsn(name))
        admin = await asyncpg.connect(server.dsn(name))
        await admin.execute("SET default_transaction_read_only = off")  # whatever the services' sessions become
        await admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        await admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}")
        await deadlines.write(admin, [ROLE])
        yield PostgresFaults(server, name, admin)
        await admin.close()
    finally:
        await server.child.stop()
