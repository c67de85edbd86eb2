"""All of ours in containers, with the Postgres and the clamd of production: uploads go through, deaths included."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from testcontainers.core.container import DockerContainer

from deploy.local import ports, tokens
from deploy.local.clamav import EICAR, write_test_signatures
from media.asset_store.database import Database, connect
from media.errors import UnavailableError
from tests.acceptance.conftest import jpeg
from tests.conftest import EmulatedAws
from tests.containers.conftest import Site, locked_down, opened
from tests.containers.test_service import answers, ready, until_ready

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]
DEADLINE = 120.0
PICTURES = 20


@dataclass(frozen=True, slots=True)
class Postgres:
    container: DockerContainer
    dsn: str

    async def answers(self) -> None:
        """Until it takes connections."""
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    async with connect(self.dsn) as database:
                        await database.fetchval("SELECT 1")
                except (UnavailableError, OSError):
                    await asyncio.sleep(0.1)  # it listens, or not; nothing tells when it does
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
        await found.answers()
        yield found


@pytest.fixture
def clamd_container(scanner_image: str, tmp_path: Path) -> Iterator[None]:
    tmp_path.chmod(0o755)
    signatures = write_test_signatures(tmp_path / "signatures").folder
    command = ["clamd", "--config-file=/etc/clamav/clamd.conf"]
    container = locked_down(scanner_image, command, {}).with_volume_mapping(str(signatures), "/var/lib/clamav", "ro")
    with container:
        ping = ["clamdscan", "--config-file=/etc/clamav/clamd.conf", "--ping", "30:1"]
        assert container.exec(ping).exit_code == 0
        yield


@pytest.fixture
async def production(
    emulator: EmulatedAws, database_container: Postgres, clamd_container: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    del clamd_container  # it is there; nothing is asked of it directly
    more = {"MEDIA_QUEUES": "uploads,images", "MEDIA_JWT_ISSUER": tokens.ISSUER, "MEDIA_RETRY_CAP": "2"}
    async with opened(emulator, database_container.dsn, monkeypatch, **more) as found:
        yield found


async def upload(site: Site, http: aiohttp.ClientSession, content: bytes) -> None:
    """As a browser does it, through the API's container."""
    token = tokens.mint(site.env["MEDIA_JWT_SECRET"], user="dr-house", role="user")
    url = f"http://127.0.0.1:{site.env['MEDIA_API_PORT']}/api/v1/media/upload"
    asked = {"asset_type": "image", "content_type": "image/jpeg", "original_filename": "x.jpg"}
    async with http.post(url, json=asked, headers={"Authorization": f"Bearer {token}"}) as answer:
        slot: Any = await answer.json()
        assert answer.status == 201, slot
    async with http.put(slot["upload_url"], data=content, headers=slot["headers"]) as answer:
        assert answer.status == 200


async def statuses(database: Database) -> dict[str, int]:
    rows = await database.fetch("SELECT status, count(*) AS n FROM assets GROUP BY status")
    return {row["status"]: row["n"] for row in rows}


async def test_uploads_go_through_though_postgres_is_killed_among_them(
    production: Site, database_container: Postgres, service_image: str
) -> None:
    with locked_down(service_image, ["python", "-m", "media.schema", "apply"], production.env) as applying:
        assert applying.get_wrapped_container().wait(timeout=60)["StatusCode"] == 0
    api = locked_down(service_image, ["python", "-m", "api"], production.env)
    consumer = locked_down(service_image, ["python", "-m", "consumer"], production.env)
    with api, consumer:
        assert (await answers(f"http://127.0.0.1:{production.env['MEDIA_API_PORT']}/readyz"))[0] == 200
        async with aiohttp.ClientSession() as http:
            await upload(production, http, bytes.fromhex(EICAR))
            for seed in range(PICTURES):
                await upload(production, http, jpeg(2400, 1600, seed))
        async with connect(database_container.dsn) as database:
            await until_ready(database, 1)
            assert await ready(database) < PICTURES, "it is killed while there is work"
        wrapped = database_container.container.get_wrapped_container()
        await asyncio.to_thread(wrapped.kill)
        await asyncio.to_thread(wrapped.start)
        await database_container.answers()
        async with connect(database_container.dsn) as database:
            await until_ready(database, PICTURES)
            assert await statuses(database) == {"ready": PICTURES, "rejected": 1}
            assert await database.fetchval("SELECT count(*) FROM renditions") == 5 * PICTURES
    assert (await production.queues.dead_letters("images").depth()).visible == 0
