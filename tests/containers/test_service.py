"""The image of the service builds, starts without privileges, answers, drains, and loses nothing when killed."""

import asyncio
import json
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import pytest

from deploy import images, production
from media import VERSION
from media.asset import AssetType, DeliveryClass, ObjectVersion, Stage, StageState, Status, upload_key
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import Database, connect
from media.asset_store.stages import Claim, Commit, StageStore
from media.contracts import ImageRequested
from tests.acceptance.conftest import jpeg
from tests.containers.conftest import COMMIT, ServiceEnvironment, locked_down_container
from tests.containers.waiting import DEADLINE, count_ready, wait_for_answer, wait_until_ready

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]
HEALTH_CHECK = ["python", "/app/healthy.py"]
SEARCH = (Path(__file__).parents[1] / "fakes" / "secret_search.py").read_text()
# A child of the sandbox in the consumer's container, where Docker's profile refuses namespaces, as Fargate does.
CHILD = """
import asyncio, sys
from pathlib import Path
from handlers.sandbox import probe, run_limited
assert not probe().namespaces
done = asyncio.run(run_limited(
    [sys.executable, "-I", "-c", sys.argv[1]], timeout=60, memory=1 << 30, cpu_seconds=60, file_bytes=1 << 20,
    cwd=Path("/scratch"), stdin=sys.argv[2].encode()))
print("found:", done.stdout.decode().splitlines(), done.stderr.decode())
sys.exit(done.returncode)
"""


async def scanned_image(environment: ServiceEnvironment, database: Database, content: bytes) -> UUID:
    """Create an image whose scan is done, with its message on the images queue."""
    asset_id = uuid4()
    bucket = environment.settings.output_bucket
    key = upload_key(AssetType.IMAGE, "dr-house", asset_id, "x.jpg")
    await environment.storage.write(bucket, f"processed/{key}", content, "image/jpeg")  # uploads/ would send an event
    stored = await environment.storage.head(ObjectVersion(bucket, f"processed/{key}"))
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
    await environment.queues["images"].send(request.model_dump_json())
    return asset_id


def test_the_image_holds_the_packages_of_the_lock_with_known_licenses(service_image: str) -> None:
    found = json.loads(images.sbom(service_image))["components"]
    python = {f"{part['name'].lower().replace('_', '-')}=={part['version']}" for part in found if "pypi" in str(part)}
    locked = {f"{package.name}=={package.version}" for package in production.packages()}
    assert {name for name in python - locked if not name.startswith("pip==")} == set(), "pip is the base image's"
    assert locked <= python
    assert not [part["name"] for part in found if part["licenses"][0]["license"]["name"] == "unknown"]


@pytest.mark.parametrize(("module", "port"), [("consumer", "MEDIA_CONSUMER_PORT"), ("api", "MEDIA_API_PORT")])
async def test_a_service_starts_without_privileges_and_is_healthy(
    environment: ServiceEnvironment, service_image: str, module: str, port: str
) -> None:
    container = locked_down_container(service_image, ["python", "-m", module], environment.env)
    with container:
        url = f"http://127.0.0.1:{environment.env[port]}"
        assert (await wait_for_answer(f"{url}/livez"))[0] == 200
        async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
            assert f'media_build_info{{commit="{COMMIT}",version="{VERSION}"}} 1.0' in await answer.text()
        assert container.exec(["id", "-u"]).output == b"10001\n"
        assert container.exec(["touch", "/app/x"]).exit_code != 0
        assert container.exec([*HEALTH_CHECK, module]).exit_code == 0
        assert container.exec(["env", f"{port}=9", *HEALTH_CHECK, module]).exit_code == 1
        wrapped = container.get_wrapped_container()
        await asyncio.to_thread(wrapped.stop, timeout=40)
        assert wrapped.wait()["StatusCode"] == 0


async def test_a_child_finds_no_secret_in_the_consumers_container(
    environment: ServiceEnvironment, service_image: str
) -> None:
    secret = ("made-up-", uuid4().hex)
    folders = ["/scratch", "/app", "/etc", "/run", "/tmp", "/dev/shm", "/var", "/home"]  # noqa: S108 - looked into
    hosts = ["169.254.170.2", "169.254.169.254", f"127.0.0.1:{environment.env['MEDIA_CONSUMER_PORT']}"]
    asked = json.dumps({"secret": secret, "pids": None, "folders": folders, "hosts": hosts})
    held = {"MEDIA_CALLBACK_SECRET": "".join(secret)} | {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": f"/v2/credentials/{''.join(secret)}"
    }
    container = locked_down_container(service_image, ["python", "-m", "consumer"], dict(environment.env) | held)
    with container:
        assert (await wait_for_answer(f"http://127.0.0.1:{environment.env['MEDIA_CONSUMER_PORT']}/livez"))[0] == 200
        assert container.exec(["sh", "-c", "tr '\\0' '\\n' </proc/self/environ"]).output.decode().count(secret[1]) == 2
        clean = ["env", "-i", "PYTHONPATH=/app", "/opt/venv/bin/python", "-c", CHILD, SEARCH, asked]
        found, *healthy = await asyncio.gather(
            asyncio.to_thread(container.exec, clean),
            *(asyncio.to_thread(container.exec, [*HEALTH_CHECK, "consumer"]) for _ in range(5)),
        )
        assert {check.exit_code for check in healthy} == {0}
    assert found.exit_code == 0, found.output
    assert found.output.decode().splitlines()[-1] == "found: [] ", found.output


async def test_a_consumer_stopped_with_messages_in_flight_drains_and_loses_nothing(
    environment: ServiceEnvironment, service_image: str
) -> None:
    async with connect(environment.settings.database_url) as database:
        for seed in range(12):
            await scanned_image(environment, database, jpeg(2400, 1600, seed))
        container = locked_down_container(service_image, ["python", "-m", "consumer"], environment.env)
        with container:
            await wait_until_ready(database, 2)
            wrapped = container.get_wrapped_container()
            await asyncio.to_thread(wrapped.stop, timeout=40)
            assert wrapped.wait()["StatusCode"] == 0
        done = await count_ready(database)
        depth = await environment.queues["images"].depth()
        assert done + depth.visible == 12
        with locked_down_container(service_image, ["python", "-m", "consumer"], environment.env):
            await wait_until_ready(database, 12)
        assert await database.fetchval("SELECT count(*) FROM renditions GROUP BY asset_id ORDER BY 1 DESC LIMIT 1") == 5


async def test_a_consumer_killed_for_its_memory_loses_nothing(
    environment: ServiceEnvironment, service_image: str
) -> None:
    """With too little memory the kernel kills the consumer; one with enough memory finishes everything."""
    env = dict(environment.env) | {"MEDIA_MAX_ATTEMPTS": "15", "MEDIA_RETRY_CAP": "1", "MEDIA_VISIBILITY_TIMEOUT": "10"}
    async with connect(environment.settings.database_url) as database:
        for seed in range(3):
            await scanned_image(environment, database, jpeg(6000, 4000, seed))
        container = locked_down_container(
            service_image, ["python", "-m", "consumer"], env, mem_limit="170m", memswap_limit="170m"
        )
        with container:
            async with asyncio.timeout(DEADLINE):
                while not await database.fetchval("SELECT count(*) FROM stages WHERE stage = 'image' AND attempt > 1"):
                    wrapped = container.get_wrapped_container()
                    await asyncio.to_thread(wrapped.reload)
                    if wrapped.status == "exited":
                        break
        with locked_down_container(service_image, ["python", "-m", "consumer"], env):
            await wait_until_ready(database, 3)
