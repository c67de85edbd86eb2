"""What a daemon depends on, each behind a fault proxy: emulator, database, clamd and a fake MediaConvert."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from deploy.local import child, programs, tokens
from deploy.local.ports import free_port
from deploy.local.topology import Topology
from media.settings import QUEUES
from tests.fakes.mediaconvert import FakeMediaConvert, fake_mediaconvert
from tests.faults.fault_proxies import HOST, HttpProxy, TcpProxy, http_proxy, tcp_proxy

ROOT = Path(__file__).parents[2]
JWT_SECRET = "made up for the faults' tests alone"
API = {
    "MEDIA_API_HOST": HOST,
    "MEDIA_JWT_SECRET": JWT_SECRET,
    "MEDIA_JWT_ISSUER": tokens.ISSUER,
    **{f"MEDIA_RATE_LIMIT_{kind}": "0" for kind in ("READS", "WRITES", "URLS", "STREAMS")},
}
START_DEADLINE = 30.0
STOP_DEADLINE = 30.0
NOTICES = 15.0
"""Seconds of a fault after which /readyz must tell of it."""
RESUMES = 10.0
"""Seconds from the end of a fault until work is done again."""


def with_limits(flags: Sequence[str]) -> tuple[str, ...]:
    """Return the words before a command that set limits, by `prlimit`'s flags. Root may not exceed them either."""
    bound = ("setpriv", "--bounding-set=-sys_resource") if os.geteuid() == 0 else ()
    return (*bound, "prlimit", *flags) if flags else ()


@dataclass(slots=True)
class Daemon:
    """A consumer, or an API, as a child process that may be started again and again."""

    env: Mapping[str, str]
    log: Path
    module: str = "consumer"
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None
    limits: tuple[str, ...] = ()
    """`prlimit`'s flags, for a machine with low limits."""
    stdout: int | None = None
    """Where its log goes, if not to the file."""

    async def start(self) -> None:
        """Start the process and wait until it is alive."""
        port = {f"MEDIA_{self.module.upper()}_PORT": str(self.port)}
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *child.parent_death_command(),
                *with_limits(self.limits),
                sys.executable,
                "-m",
                self.module,
                env={**child.base_environment(), "PYTHONPATH": str(ROOT), **self.env, **port},
                cwd=self.log.parent,
                stdout=log if self.stdout is None else self.stdout,
                stderr=log,
                start_new_session=True,
            )
        async with asyncio.timeout(START_DEADLINE):
            while await self.get("livez") is None:
                assert self.process.returncode is None, f"it ended: {self.log.read_text()[-4000:]}"
                await asyncio.sleep(0.05)

    async def get(self, path: str) -> int | None:
        """Return the status of one of its pages; None while it does not answer."""
        return (await self.read(path))[0]

    async def read(self, path: str) -> tuple[int | None, str]:
        """Return the status and the text of one of its pages; no status while it does not answer."""
        timeout = aiohttp.ClientTimeout(total=5)  # as the load balancer of service.yaml
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.get(f"{self.url}/{path}") as a,
            ):
                return a.status, await a.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return None, repr(error)

    async def until_status(self, status: int, deadline: float = NOTICES) -> None:
        """Wait until /readyz answers with a status. Raises TimeoutError."""
        async with asyncio.timeout(deadline):
            while await self.get("readyz") != status:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.1)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def signal(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; return the exit status, negative for a signal."""
        assert self.process
        async with asyncio.timeout(STOP_DEADLINE):
            return await self.process.wait()

    async def drain(self) -> None:
        """End it by SIGTERM, and check that it ends in order."""
        self.signal(signal.SIGTERM)
        assert await self.ended() == 0, self.log.read_text()[-3000:]

    async def kill(self) -> None:
        """Kill it, with its children, which a test would leave behind otherwise."""
        if self.process and self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()


@dataclass(slots=True)
class ProxiedServices:
    """Everything that a daemon depends on. `s3`, `sqs` and `db` bypass the proxies."""

    topology: Topology
    dsn: str
    s3: Any
    sqs: Any
    db: "asyncpg.Pool[asyncpg.Record]"
    aws: HttpProxy
    postgres: TcpProxy
    clamd: TcpProxy
    mediaconvert_proxy: TcpProxy
    mediaconvert: FakeMediaConvert
    env: dict[str, str]
    logs: Path
    chance: random.Random

    @property
    def bucket(self) -> str:
        return self.topology.output_bucket

    def daemon(self, **settings: str) -> Daemon:
        return Daemon({**self.env, **settings}, self.logs / "consumer.log")

    def api(self, **settings: str) -> Daemon:
        """Make an API beside the daemon, with `JWT_SECRET` for its tokens."""
        return Daemon({**self.env, **API, **settings}, self.logs / "api.log", "api")

    async def send(self, queue: str, body: Mapping[str, Any], *, delay: int = 0, group_id: str = "") -> None:
        extra = {"MessageGroupId": group_id} if group_id else {}
        url = self.topology.queue_urls[queue]
        await self.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body), DelaySeconds=delay, **extra)

    async def depths(self, suffix: str = "", *, hidden: bool = True) -> dict[str, int]:
        """Count the messages in every queue, or in its dead letters (`-dlq`); without `hidden` those to be had now."""
        names = ["", "NotVisible", "Delayed"] if hidden else [""]
        attributes = [f"ApproximateNumberOfMessages{name}" for name in names]
        found = {}
        for queue in QUEUES:
            url = self.topology.queue_urls[queue] + suffix
            answer = await self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=attributes)
            found[queue] = sum(int(answer["Attributes"].get(name, 0)) for name in attributes)
        return found

    async def visible_uploads(self) -> int:
        """Count the messages of the queue `uploads` that may be received now."""
        return (await self.depths(hidden=False))["uploads"]

    async def purge(self) -> None:
        for url in self.topology.queue_urls.values():
            for suffix in ("", "-dlq"):
                await self.sqs.purge_queue(QueueUrl=url + suffix)

    async def until(self, condition: str, *values: Any, deadline: float = 60.0) -> None:
        """Wait until a query of the database is true. Raises TimeoutError."""
        async with asyncio.timeout(deadline):
            while not await self.db.fetchval(f"SELECT {condition}", *values):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.05)


def _environment(
    topology: Topology, aws: str, client_env: Mapping[str, str], places: Mapping[str, str]
) -> dict[str, str]:
    urls = {f"MEDIA_{name.upper().replace('-', '_')}_QUEUE_URL": topology.queue_urls[name] for name in QUEUES}
    return {
        **client_env,
        **urls,
        **places,
        "AWS_ENDPOINT_URL": aws,
        "OUTPUT_BUCKET": topology.output_bucket,
        "MEDIA_QUARANTINE_BUCKET": topology.quarantine_bucket,
        "MEDIA_RECORDING_BUCKETS": topology.recordings_bucket,
        "MEDIACONVERT_ROLE_ARN": "arn:aws:iam::000000000000:role/mediaconvert",
        "MEDIA_FFPROBE": programs.ffprobe(os.environ),
        "MEDIA_CONSUMER_HOST": HOST,
        "MEDIA_RECEIVE_WAIT": "1",
        "MEDIA_VISIBILITY_TIMEOUT": "10",
        "MEDIA_RETRY_BASE": "0.5",
        "MEDIA_RETRY_CAP": "4",
        "MEDIA_DRAIN_TIMEOUT": "8",
        "MEDIA_RECONCILE_INTERVAL": "5",
        "MEDIA_LOG_FORMAT": "json",
    }


@asynccontextmanager
async def proxied_services(
    emulator_url: str, client_env: Mapping[str, str], topology: Topology, dsn: str, clamd: str, folder: Path, seed: int
) -> AsyncIterator[ProxiedServices]:
    """Put proxies before services that run already, and add a fake MediaConvert."""
    async with AsyncExitStack() as stack:
        postgres, clamd_parts = urlsplit(dsn), urlsplit(clamd)
        aws, aws_url = await stack.enter_async_context(http_proxy(emulator_url, seed=seed))
        postgres_proxy, postgres_port = await stack.enter_async_context(
            tcp_proxy(lambda: asyncio.open_connection(postgres.hostname, postgres.port))
        )
        clamd_proxy, clamd_port = await stack.enter_async_context(
            tcp_proxy(lambda: asyncio.open_unix_connection(clamd_parts.path))
        )
        convert = await stack.enter_async_context(fake_mediaconvert(emulator_url, client_env, folder))
        mediaconvert_proxy, mediaconvert_port = await stack.enter_async_context(
            tcp_proxy(lambda: asyncio.open_connection(HOST, urlsplit(convert.url).port))
        )
        places = {
            "MEDIA_DATABASE_URL": dsn.replace(f":{postgres.port}/", f":{postgres_port}/"),
            "MEDIA_CLAMD": f"tcp://{HOST}:{clamd_port}",
            "MEDIACONVERT_ENDPOINT": f"http://{HOST}:{mediaconvert_port}",
        }
        s3, sqs = await _clients(emulator_url, client_env, stack)
        db = await stack.enter_async_context(asyncpg.create_pool(dsn, min_size=1, max_size=4))
        env = _environment(topology, aws_url, client_env, places)
        yield ProxiedServices(
            topology,
            dsn,
            s3,
            sqs,
            db,
            aws,
            postgres_proxy,
            clamd_proxy,
            mediaconvert_proxy,
            convert,
            env,
            folder,
            random.Random(seed),  # noqa: S311 - chance in a test, repeatable
        )


async def _clients(url: str, client_env: Mapping[str, str], stack: AsyncExitStack) -> tuple[Any, Any]:
    """Make clients that bypass the proxies."""
    session = get_session()
    session.set_credentials(client_env["AWS_ACCESS_KEY_ID"], client_env["AWS_SECRET_ACCESS_KEY"])
    config = AioConfig(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=30)
    region = client_env["AWS_REGION"]
    s3 = await stack.enter_async_context(
        session.create_client("s3", endpoint_url=url, region_name=region, config=config)
    )
    sqs = await stack.enter_async_context(session.create_client("sqs", endpoint_url=url, region_name=region))
    return s3, sqs
