"""Our images, built and run on the engine that DOCKER_HOST names, as ECS runs them: read-only, unprivileged."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testcontainers.core.container import DockerContainer

from deploy.local import ports
from deploy.local.clamav import write_test_signatures
from media.aws.clients import Clients
from media.aws.s3 import ObjectStorage
from media.aws.sqs import MessageQueues
from media.settings import Settings, load
from tests.conftest import Database, EmulatedAws

ROOT = Path(__file__).parents[2]
HOW_TO_GET_DOCKER = """no Docker engine answers. To get one on Debian, as root:
  apt-get install --no-install-recommends docker.io
  dockerd --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --bip 172.31.255.1/24 --ip 127.0.0.1 &
  ./test.sh -m containers
Where no image can be pulled, make the bases: debootstrap --variant=minbase trixie base && tar -C base -c . |
docker import - debian:trixie-slim; python:3.12-slim-trixie is that with a Python 3.12 in /usr/local. Instead
of postgres the tests then build Debian's by themselves."""
COMMIT = "c0ffee"
"""The commit that images are told."""
POSTGRES = "postgres:17-trixie"
"""As in deploy/compose.yaml."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Explain why the container tests were skipped, since a quiet run does not show skips."""
    skipped = terminalreporter.stats.get("skipped", ())
    if any(HOW_TO_GET_DOCKER in report.longrepr[-1] for report in skipped if isinstance(report.longrepr, tuple)):
        terminalreporter.section("the container tests were skipped")
        terminalreporter.line(HOW_TO_GET_DOCKER)


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A client of the Docker engine. Without an engine the tests are skipped, with instructions."""
    import docker  # type: ignore[import-untyped] # noqa: PLC0415 - comes with testcontainers; needed only here
    from docker.errors import DockerException  # type: ignore[import-untyped] # noqa: PLC0415 - as above

    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image is not available everywhere
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException:
        pytest.skip(HOW_TO_GET_DOCKER)
    yield client
    client.close()


def build_image(engine: Any, target: str) -> str:
    """Build an image from the current deploy/Dockerfile, and return its tag."""
    tag = f"docfliq-media-test-{target}"
    named = {"dockerfile": "deploy/Dockerfile", "target": target, "tag": tag, "buildargs": {"MEDIA_COMMIT": COMMIT}}
    engine.images.build(path=str(ROOT), network_mode="host", **named)
    return tag


@pytest.fixture(scope="session")
def service_image(engine: Any) -> str:
    return build_image(engine, "service")


@pytest.fixture(scope="session")
def scanner_image(engine: Any) -> str:
    return build_image(engine, "scanner")


@pytest.fixture(scope="session")
def postgres_image(engine: Any) -> str:
    """The official image, or Debian's Postgres where the official one is not available."""
    from docker.errors import APIError, ImageNotFound  # noqa: PLC0415 - as above

    with contextlib.suppress(ImageNotFound):
        engine.images.get(POSTGRES)
        return POSTGRES
    try:
        engine.images.pull(POSTGRES)
    except APIError:
        tag, folder = "docfliq-media-test-postgres", str(Path(__file__).parent)
        engine.images.build(path=folder, dockerfile="postgres.Dockerfile", tag=tag, network_mode="host")
        return tag
    return POSTGRES


def locked_down_container(image: str, command: list[str], env: Mapping[str, str], **more: Any) -> DockerContainer:
    """Return a container restricted as in the task definitions, on the host's network, where the fakes are."""
    container = DockerContainer(image).with_command(command)
    for name, value in env.items():
        container = container.with_env(name, value)
    for folder in ("/scratch", "/spool"):
        container = container.with_tmpfs_mount(folder, "size=512m,uid=10001,gid=10001")
    return container.with_kwargs(
        network_mode="host",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        **more,
    )


def scanner_container(image: str, folder: Path, **env: str) -> DockerContainer:
    """Return the scanner with its volume in `folder`, where signatures of the tests lie.

    It begins with them: there is no bucket, and nobody answers for the mirror.
    """
    folder.chmod(0o755)
    volume = write_test_signatures(folder / "signatures").folder
    volume.chmod(0o777)
    env = {"MEDIA_SIGNATURES_MIRROR": "http://127.0.0.1:9", **env}
    return locked_down_container(image, [], env).with_volume_mapping(str(volume), "/var/lib/clamav", "rw")


@dataclass(frozen=True, slots=True)
class ServiceEnvironment:
    """Emulator and database with the production topology, and the environment of a service that uses them."""

    env: Mapping[str, str]
    settings: Settings
    queues: MessageQueues
    storage: ObjectStorage


@pytest.fixture
async def environment(
    emulator: EmulatedAws, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ServiceEnvironment]:
    async with open_environment(emulator, postgres.dsn, monkeypatch) as found:
        yield found


@contextlib.asynccontextmanager
async def open_environment(
    emulator: EmulatedAws, dsn: str, monkeypatch: pytest.MonkeyPatch, **more: str
) -> AsyncIterator[ServiceEnvironment]:
    """Yield an environment with this database, with the given settings over the defaults."""
    topology = emulator.topology
    urls = {f"MEDIA_{n.upper().replace('-', '_')}_QUEUE_URL": url for n, url in topology.queue_urls.items()}
    client = {name: value for name, value in emulator.client_env.items() if not name.endswith("_FILE")}
    env = (
        client
        | urls
        | {
            "MEDIA_DATABASE_URL": dsn,
            "OUTPUT_BUCKET": topology.output_bucket,
            "MEDIA_QUEUES": "images",
            "MEDIA_CONCURRENCY": "2",
            "MEDIA_RECEIVE_WAIT": "1",
            "MEDIA_DRAIN_TIMEOUT": "20",
            "MEDIA_CONSUMER_HOST": "127.0.0.1",
            "MEDIA_CONSUMER_PORT": str(ports.free_port()),
            "MEDIA_API_HOST": "127.0.0.1",
            "MEDIA_API_PORT": str(ports.free_port()),
            "MEDIA_JWT_SECRET": "made up for the containers' tests alone",
            "MEDIA_LOG_FORMAT": "json",
        }
        | more
    )
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:
        settings = load(env_file=None)
        clients = Clients(settings, stack)
        yield ServiceEnvironment(
            env, settings, MessageQueues(await clients.sqs(), settings.queue_urls()), ObjectStorage(await clients.s3())
        )
