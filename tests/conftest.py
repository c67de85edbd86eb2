"""The parts of the embedded stack as fixtures. Each starts once per run, on free ports, in a folder of its own.

A test asks for what it needs: `emulator` (S3, SQS, EventBridge with the production topology), `postgres` (a fresh
database with the schema, for this test alone), `clamd`, or `stack` (everything, the services included).
"""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.local import clamav, ports, tokens, topology
from deploy.local import emulator as emulator_part
from deploy.local import postgres as postgres_part
from deploy.local.postgres import Postgres
from deploy.local.stack import Stack, running
from deploy.local.topology import Topology
from media.schema import apply as schema
from tests.pooler import through_pooler

ORIGIN = "http://localhost:8005"
TEMPLATE = "media_template"


@dataclass(frozen=True, slots=True)
class EmulatedAws:
    """A running emulator: its endpoint, the environment that points an AWS client at it, and the topology's names."""

    url: str
    region: str
    access_key: str
    secret_key: str
    client_env: Mapping[str, str]
    topology: Topology


@dataclass(frozen=True, slots=True)
class Database:
    """A database of this test alone, with the schema applied."""

    dsn: str


@dataclass(frozen=True, slots=True)
class Scanner:
    """A running clamd with the test signatures: EICAR and ClamAV's own test file. `pid` is for tests of its death."""

    address: str
    pid: int


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
async def emulator(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> AsyncIterator[EmulatedAws]:
    started = await emulator_part.start(tmp_path_factory.mktemp("emulator"), ports.free_port(), logs)
    try:
        yield EmulatedAws(
            url=started.url,
            region=emulator_part.REGION,
            access_key=emulator_part.ACCESS_KEY,
            secret_key=emulator_part.SECRET_KEY,
            client_env=started.client_env(),
            topology=await topology.apply(started.url, [ORIGIN]),
        )
    finally:
        await started.child.stop()


@pytest.fixture(scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> AsyncIterator[Postgres]:
    server = await postgres_part.start(tmp_path_factory.mktemp("postgres"), ports.free_port(), logs, uuid4().hex)
    try:
        await postgres_part.create_database(server, TEMPLATE)
        await schema.apply(server.dsn(TEMPLATE))
        async with through_pooler(server):
            yield server
    finally:
        await server.child.stop()


@pytest.fixture
async def postgres(postgres_server: Postgres) -> AsyncIterator[Database]:
    name = f"test_{uuid4().hex}"
    await postgres_part.create_database(postgres_server, name, template=TEMPLATE)
    try:
        yield Database(postgres_server.dsn(name))
    finally:
        await postgres_part.drop_database(postgres_server, name)


@pytest.fixture(scope="session")
async def clamd(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> AsyncIterator[Scanner]:
    folder = tmp_path_factory.mktemp("clamav")
    with clamav.prepare(folder, clamav.write_test_signatures(folder / "signatures")) as prepared:
        started = await prepared.launch(logs)
        try:
            yield Scanner(prepared.address, started.pid)
        finally:
            await started.stop()


@dataclass(frozen=True, slots=True)
class EmbeddedStack:
    """The running stack: parts, consumer and API. Tests that break something use `parts`."""

    parts: Stack

    @property
    def api_url(self) -> str:
        return self.parts.api_url

    @property
    def settings(self) -> Mapping[str, str]:
        """The environment variables of the services."""
        return self.parts.settings

    @property
    def dsn(self) -> str:
        """The database as the schema's owner. The services have roles of their own."""
        return self.parts.owner_dsn

    @property
    def state(self) -> Path:
        return self.parts.state.root

    def token(self, user: str = "tester", role: str = "user") -> str:
        return tokens.mint(self.parts.state.secrets().jwt_secret, user=user, role=role)


@contextlib.asynccontextmanager
async def embedded_stack(folder: Path, **settings: str) -> AsyncIterator[EmbeddedStack]:
    """Start a stack on free ports. `settings` override the defaults of its services."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIA_", "AWS_"))}
    messages: list[str] = []
    environ |= {"MEDIA_API_PORT": str(ports.free_port()), **settings}
    async with running(folder, messages.append, environ) as up:
        yield EmbeddedStack(up)


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    async with embedded_stack(tmp_path_factory.mktemp("stack"), MEDIA_DOCUMENT_PAGES="2") as up:
        yield up
