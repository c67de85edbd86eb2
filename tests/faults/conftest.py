"""Services behind fault proxies for each test, on an emulator, a Postgres and a clamd that the fault tests share."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local import emulator as emulator_part
from deploy.local import ports, topology
from deploy.local.topology import Topology
from tests.conftest import Database, Scanner
from tests.faults import sample_uploads
from tests.faults.postgres_faults import PostgresFaults, start_postgres
from tests.faults.proxied_services import ProxiedServices, proxied_services
from tests.faults.stage_harness import StageHarness
from tests.faults.stage_harness import stage_harness as make_stage_harness


@dataclass(frozen=True, slots=True)
class Aws:
    """An emulator whose queues no other test fills."""

    url: str
    client_env: dict[str, str]
    topology: Topology


@pytest.fixture(scope="package")
async def own_aws(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Aws]:
    folder = tmp_path_factory.mktemp("fault-emulator")
    started = await emulator_part.start(folder, ports.free_port(), folder)
    try:
        yield Aws(started.url, started.client_env(), await topology.apply(started.url, []))
    finally:
        await started.child.stop()


@pytest.fixture(scope="package")
async def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresFaults]:
    async with start_postgres(tmp_path_factory.mktemp("own-postgres")) as started:
        yield started


@pytest.fixture
async def failing_services(
    own_aws: Aws, own_postgres: PostgresFaults, clamd: Scanner, tmp_path: Path
) -> AsyncIterator[ProxiedServices]:
    """Services on `own_postgres`, for its faults."""
    await own_postgres.empty()
    async with proxied_services(
        own_aws.url, own_aws.client_env, own_aws.topology, own_postgres.dsn, clamd.address, tmp_path, seed=3
    ) as found:
        await found.purge()
        yield found


@pytest.fixture
async def services(own_aws: Aws, postgres: Database, clamd: Scanner, tmp_path: Path) -> AsyncIterator[ProxiedServices]:
    async with proxied_services(
        own_aws.url, own_aws.client_env, own_aws.topology, postgres.dsn, clamd.address, tmp_path, seed=1
    ) as found:
        await found.purge()
        yield found


@pytest.fixture(scope="package")
async def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return await sample_uploads.make_clip(tmp_path_factory.mktemp("film"))


@pytest.fixture
async def stage_harness(postgres: Database) -> AsyncIterator[StageHarness]:
    async with make_stage_harness(postgres.dsn) as harness:
        yield harness
