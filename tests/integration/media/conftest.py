"""The adapters on two backends with one contract: the embedded emulator, and moto's server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from moto.server import ThreadedMotoServer

from deploy.local.emulator import REGION
from media.aws.clients import Clients
from media.aws.s3 import ObjectStorage
from media.aws.sqs import MessageQueues
from media.settings import QUEUES, Settings, load
from tests.conftest import EmulatedAws


@dataclass(frozen=True, slots=True)
class Cloud:
    """Our adapters on one backend, with the raw clients, a versioned bucket and two queues."""

    name: str
    storage: ObjectStorage
    queues: MessageQueues
    s3: Any
    sqs: Any
    bucket: str


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["emulator", "moto"])
async def cloud(
    request: pytest.FixtureRequest, emulator: EmulatedAws, moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cloud]:
    for name, value in emulator.client_env.items():
        monkeypatch.setenv(name, value)
    url = emulator.url if request.param == "emulator" else moto_url
    async with AsyncExitStack() as stack:
        clients = Clients(settings_for(url), stack)
        s3, sqs = await clients.s3(), await clients.sqs()
        bucket = await _bucket(s3, emulator.region)
        url = await _queue(sqs)
        yield Cloud(request.param, ObjectStorage(s3), MessageQueues(sqs, {"work": url}), s3, sqs, bucket)


async def _bucket(s3: Any, region: str) -> str:
    name = f"bucket-{uuid4().hex}"
    await s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    await s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


async def _queue(sqs: Any) -> str:
    name = f"work-{uuid4().hex}"
    await sqs.create_queue(QueueName=f"{name}-dlq")
    return str((await sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "30"}))["QueueUrl"])


def settings_for(url: str) -> Settings:
    """Return settings whose AWS is at `url`."""
    queue_urls: dict[str, Any] = {f"{name.replace('-', '_')}_queue_url": "https://unused" for name in QUEUES}
    return load(
        env_file=None,
        database_url="postgresql://nowhere",
        OUTPUT_BUCKET="unused",
        AWS_REGION=REGION,
        AWS_ENDPOINT_URL=url,
        **queue_urls,
    )
