"""One emulator and one endpoint for all these tests, with the queues and rules of production."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from types_aiobotocore_events import EventBridgeClient
from types_aiobotocore_sqs import SQSClient

from tests.integration.mediaconvert import clips, servers
from tests.integration.mediaconvert.jobs import BUCKET, World
from tests.integration.mediaconvert.servers import CREDENTIALS, REGION, Server

PATTERN = {"source": ["aws.mediaconvert"], "detail-type": ["MediaConvert Job State Change"]}
CONFIG = AioConfig(signature_version="s3v4", s3={"addressing_style": "path"}, read_timeout=30)
WITHOUT_VALIDATION = AioConfig(parameter_validation=False)
"""The endpoint, not the client, must refuse requests."""
SECRET = {
    "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
    "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
}


@pytest.fixture(scope="session")
async def emulator(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with servers.running(servers.emulator(tmp_path_factory.mktemp("emulator"))) as server:
        yield server


@pytest.fixture(scope="session")
async def endpoint(tmp_path_factory: pytest.TempPathFactory, emulator: Server) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("endpoint")
    async with servers.running(servers.endpoint(folder, emulator.url)) as server:
        yield server


async def subscribe(sqs: SQSClient, events: EventBridgeClient, name: str) -> str:
    """Create a queue that gets MediaConvert's events; return its URL."""
    url = (await sqs.create_queue(QueueName=name))["QueueUrl"]
    arn = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]))["Attributes"]["QueueArn"]
    await events.put_rule(Name=name, EventPattern=json.dumps(PATTERN))
    await events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    return url


@pytest.fixture(scope="session")
async def world(emulator: Server, endpoint: Server) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield await open_world(stack, emulator.url, endpoint.url)


async def open_world(stack: AsyncExitStack, emulator_url: str, endpoint_url: str, *, subscribed: bool = True) -> World:
    """Open clients for one pair of servers. They are closed with `stack`."""
    session = get_session()
    session.set_credentials(*SECRET.values())
    session.set_config_variable("region", REGION)
    s3 = await stack.enter_async_context(session.create_client("s3", endpoint_url=emulator_url, config=CONFIG))
    sqs = await stack.enter_async_context(session.create_client("sqs", endpoint_url=emulator_url, config=CONFIG))
    events = await stack.enter_async_context(session.create_client("events", endpoint_url=emulator_url))
    converter = await stack.enter_async_context(
        session.create_client("mediaconvert", endpoint_url=endpoint_url, config=WITHOUT_VALIDATION)
    )
    if BUCKET not in [bucket["Name"] for bucket in (await s3.list_buckets())["Buckets"]]:
        await s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    url = await subscribe(sqs, events, "transcode-events") if subscribed else ""
    return World(s3, sqs, converter, url)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def landscape(folder: Path) -> Path:
    clip = [*clips.picture("640x360", 8), *clips.sound(8), *clips.FAST, "-c:a", "aac"]
    return clips.make(folder / "landscape.mp4", *clip)


@pytest.fixture(scope="session")
def portrait(folder: Path, landscape: Path) -> Path:
    """Make a silent clip that is stored in landscape and shown in portrait."""
    plain = clips.make(folder / "lying.mp4", "-i", str(landscape), "-t", "3", "-an", "-c", "copy")
    return clips.turned(plain, folder / "portrait.mp4")


@pytest.fixture(scope="session")
def speech(folder: Path) -> Path:
    return clips.make(folder / "speech.mp3", *clips.sound(5))


@pytest.fixture(scope="session")
def corpus() -> Path:
    found = Path(__file__).parents[3] / "../shared/corpus"
    if not found.is_dir():
        pytest.skip("the corpus of third-party files is not beside the repository")
    return found


@pytest.fixture(scope="session")
def brief(folder: Path) -> Path:
    return clips.make(folder / "brief.mp4", *clips.picture("160x90", 0.2), *clips.FAST)


@pytest.fixture(scope="session")
def streamed(landscape: Path) -> Path:
    """Make a clip with its index in front, so that a cut removes pictures only."""
    return clips.make(landscape.with_name("fast.mp4"), "-i", str(landscape), "-c", "copy", "-movflags", "+faststart")
