"""A site for each test on parts that all share: an emulator, a Postgres and a clamd of the fault tests' own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local import emulator as emulator_part
from deploy.local import ports, topology
from deploy.local.topology import Topology
from tests.conftest import Database, Scanner
from tests.faults import uploads
from tests.faults.site import Site, built


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


@pytest.fixture
async def site(own_aws: Aws, postgres: Database, clamd: Scanner, tmp_path: Path) -> AsyncIterator[Site]:
    async with built(
        own_aws.url, own_aws.client_env, own_aws.topology, postgres.dsn, clamd.address, tmp_path, seed=1
    ) as found:
        await found.purge()
        yield found


@pytest.fixture(scope="package")
async def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return await uploads.clip(tmp_path_factory.mktemp("film"))
