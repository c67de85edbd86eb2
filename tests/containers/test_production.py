"""All our containers, with the Postgres and the clamd of production: uploads succeed although Postgres is killed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from testcontainers.core.container import DockerContainer

from deploy.local import ports, tokens
from deploy.local.clamav import EICAR
from media.asset_store.database import Database, connect
from media.errors import UnavailableError
from tests.acceptance.conftest import jpeg
from tests.conftest import EmulatedAws
from tests.containers.conftest import ServiceEnvironment, locked_down_container, open_environment, scanner_container
from tests.containers.waiting import DEADLINE, count_ready, wait_for_answer, wait_until_ready

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]
PICTURES = 20
CLAMD = "/run/clamd"


@dataclass(frozen=True, slots=True)
class Postgres:
    container: DockerContainer
    dsn: str

    async def wait_for_answer(self) -> None:
        """Wait until it accepts connections."""
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    async with connect(self.dsn) as database:
                        await database.fetchval("SELECT 1")
                except (UnavailableError, OSError):
                    await asyncio.sleep(0.1)  # no event tells when it listens
                else:
                    return


@pytest.fixture
async def database_container(postgres_image: str) -> AsyncIterator[Postgres]:
    port = ports.free_port()
    container = DockerContainer(postgres_image).with_command(["postgres", "-p", str(port)])
    for name in ("USER", "PASSWORD", "DB"):
        container = container.with_env(f"POSTGRES_{name}", "media")
    with container.with_kwargs(network_mode="host"):
        found = Postgres(container, f"postgresql://media:media@127.0.0.1:{port}/media")
        await found.wait_for_answer()
        yield found


@pytest.fixture
def clamd_folder(scanner_image: str, tmp_path: Path) -> Iterator[Path]:
    """Run clamd; return the folder of its socket, the volume that a task's containers share."""
    folder = tmp_path / "socket"
    folder.mkdir()
    folder.chmod(0o777)  # the containers' user is another
    with scanner_container(scanner_image, tmp_path).with_volume_mapping(str(folder), CLAMD, "rw") as container:
        ping = ["clamdscan", "--config-file=/etc/clamav/clamd.conf", "--ping", "30:1"]
        assert container.exec(ping).exit_code == 0
        yield folder


@pytest.fixture
async def production(
    emulator: EmulatedAws, database_container: Postgres, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ServiceEnvironment]:
    more = {
        "MEDIA_CLAMD": f"unix://{CLAMD}/clamd.sock",
        "MEDIA_QUEUES": "uploads,images",
        "MEDIA_JWT_ISSUER": tokens.ISSUER,
        "MEDIA_RETRY_CAP": "2",
    }
    async with open_environment(emulator, database_container.dsn, monkeypatch, **more) as found:
        yield found


async def upload(environment: ServiceEnvironment, http: aiohttp.ClientSession, content: bytes) -> None:
    """Upload a file as a browser does, through the API's container."""
    token = tokens.mint(environment.env["MEDIA_JWT_SECRET"], user="dr-house", role="user")
    url = f"http://127.0.0.1:{environment.env['MEDIA_API_PORT']}/api/v1/media/upload"
    asked = {"asset_type": "image", "content_type": "image/jpeg", "original_filename": "x.jpg"}
    async with http.post(url, json=asked, headers={"Authorization": f"Bearer {token}"}) as answer:
        slot: Any = await answer.json()
        assert answer.status == 201, slot
    async with http.put(slot["upload_url"], data=content, headers=slot["headers"]) as answer:
        assert answer.status == 200


async def statuses(database: Database) -> dict[str, int]:
    rows = await database.fetch("SELECT status, count(*) AS n FROM assets GROUP BY status")
    return {row["status"]: row["n"] for row in rows}


async def test_uploads_succeed_although_postgres_is_killed_meanwhile(
    production: ServiceEnvironment, database_container: Postgres, clamd_folder: Path, service_image: str
) -> None:
    with locked_down_container(service_image, ["python", "-m", "media.schema", "apply"], production.env) as applying:
        assert applying.get_wrapped_container().wait(timeout=60)["StatusCode"] == 0
    api = locked_down_container(service_image, ["python", "-m", "api"], production.env)
    consumer = locked_down_container(service_image, ["python", "-m", "consumer"], production.env)
    consumer = consumer.with_volume_mapping(str(clamd_folder), CLAMD, "rw")
    with api, consumer:
        assert (await wait_for_answer(f"http://127.0.0.1:{production.env['MEDIA_API_PORT']}/readyz"))[0] == 200
        async with aiohttp.ClientSession() as http:
            await upload(production, http, bytes.fromhex(EICAR))
            for seed in range(PICTURES):
                await upload(production, http, jpeg(2400, 1600, seed))
        async with connect(database_container.dsn) as database:
            await wait_until_ready(database, 1)
            assert await count_ready(database) < PICTURES, "Postgres must be killed while there is work"
        wrapped = database_container.container.get_wrapped_container()
        await asyncio.to_thread(wrapped.kill)
        await asyncio.to_thread(wrapped.start)
        await database_container.wait_for_answer()
        async with connect(database_container.dsn) as database:
            await wait_until_ready(database, PICTURES)
            assert await statuses(database) == {"ready": PICTURES, "rejected": 1}
            assert await database.fetchval("SELECT count(*) FROM renditions") == 5 * PICTURES
    assert (await production.queues.dead_letters("images").depth()).visible == 0
