"""The image of the service: builds, starts without rights, answers, drains, and loses nothing when it is killed."""

import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from media.asset import AssetType, DeliveryClass, ObjectVersion, Stage, StageState, Status, upload_key
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import Database, connect
from media.asset_store.stages import Claim, Commit, StageStore
from media.contracts import ImageRequested
from tests.acceptance.conftest import jpeg
from tests.containers.conftest import Site, locked_down

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]
HEALTHY = ["python", "/app/healthy.py"]
DEADLINE = 120.0


async def answers(url: str) -> Any:
    """What a probe says, once it says something."""
    async with asyncio.timeout(DEADLINE), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as answer:
                    return answer.status, await answer.json()
            except aiohttp.ClientConnectionError:
                await asyncio.to_thread(time.sleep, 0.1)  # it has not opened its port yet; nothing tells when it does


async def scanned_image(site: Site, database: Database, content: bytes) -> UUID:
    """An image whose scan is done, with its message on the images queue."""
    asset_id = uuid4()
    bucket = site.settings.output_bucket
    key = upload_key(AssetType.IMAGE, "dr-house", asset_id, "x.jpg")
    await site.storage.write(bucket, f"processed/{key}", content, "image/jpeg")  # uploads/ would announce itself
    stored = await site.storage.head(ObjectVersion(bucket, f"processed/{key}"))
    assert stored
    new = NewAsset(
        asset_id, "dr-house", AssetType.IMAGE, DeliveryClass.PUBLIC, "image/jpeg", "x.jpg", bucket, stored.version.key
    )
    stages = StageStore(database)
    await AssetStore(database).create(new)
    await AssetStore(database).bind(asset_id, stored)
    claim = await stages.claim(asset_id, Stage.SCAN, version_id=stored.version.version_id, lease=30)
    assert isinstance(claim, Claim)
    await stages.commit(claim.fence, Commit(StageState.DONE, Status.PROCESSING, next_stage=Stage.IMAGE))
    version = stored.version
    request = ImageRequested(asset_id=asset_id, bucket=bucket, key=version.key, version_id=version.version_id)
    await site.queues["images"].send(request.model_dump_json())
    return asset_id


async def ready(database: Database) -> int:
    return int(await database.fetchval("SELECT count(*) FROM assets WHERE status = 'ready'"))


async def until_ready(database: Database, count: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while await ready(database) < count:
            pass  # each look is a request: the loop waits by itself


@pytest.mark.parametrize(("module", "port"), [("consumer", "MEDIA_CONSUMER_PORT"), ("api", "MEDIA_API_PORT")])
async def test_it_starts_without_rights_and_is_healthy(site: Site, service_image: str, module: str, port: str) -> None:
    container = locked_down(service_image, ["python", "-m", module], site.env)
    with container:
        url = f"http://127.0.0.1:{site.env[port]}"
        assert (await answers(f"{url}/livez"))[0] == 200
        assert container.exec(["id", "-u"]).output == b"10001\n"
        assert container.exec(["touch", "/app/x"]).exit_code != 0
        assert container.exec([*HEALTHY, module]).exit_code == 0
        assert container.exec(["env", f"{port}=9", *HEALTHY, module]).exit_code == 1
        wrapped = container.get_wrapped_container()
        await asyncio.to_thread(wrapped.stop, timeout=40)
        assert wrapped.wait()["StatusCode"] == 0


async def test_stopped_with_work_in_flight_it_drains_and_loses_nothing(site: Site, service_image: str) -> None:
    async with connect(site.settings.database_url) as database:
        for seed in range(12):
            await scanned_image(site, database, jpeg(2400, 1600, seed))
        container = locked_down(service_image, ["python", "-m", "consumer"], site.env)
        with container:
            await until_ready(database, 2)
            wrapped = container.get_wrapped_container()
            await asyncio.to_thread(wrapped.stop, timeout=40)
            assert wrapped.wait()["StatusCode"] == 0
        done = await ready(database)
        depth = await site.queues["images"].depth()
        assert done + depth.visible == 12
        with locked_down(service_image, ["python", "-m", "consumer"], site.env):
            await until_ready(database, 12)
        assert await database.fetchval("SELECT count(*) FROM renditions GROUP BY asset_id ORDER BY 1 DESC LIMIT 1") == 5


async def test_killed_for_its_memory_it_loses_nothing(site: Site, service_image: str) -> None:
    """Too little memory for a picture: the kernel kills; with enough of it, everything is finished."""
    env = dict(site.env) | {"MEDIA_MAX_ATTEMPTS": "15", "MEDIA_RETRY_CAP": "1", "MEDIA_VISIBILITY_TIMEOUT": "10"}
    async with connect(site.settings.database_url) as database:
        for seed in range(3):
            await scanned_image(site, database, jpeg(6000, 4000, seed))
        container = locked_down(
            service_image, ["python", "-m", "consumer"], env, mem_limit="170m", memswap_limit="170m"
        )
        with container:
            async with asyncio.timeout(DEADLINE):
                while not await database.fetchval("SELECT count(*) FROM stages WHERE stage = 'image' AND attempt > 1"):
                    wrapped = container.get_wrapped_container()
                    await asyncio.to_thread(wrapped.reload)
                    if wrapped.status == "exited":
                        break
        with locked_down(service_image, ["python", "-m", "consumer"], env):
            await until_ready(database, 3)
