"""Queues for one test, with dead letters as the consumer leaves them, and the operator's commands as processes."""

import asyncio
import contextlib
import io
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiobotocore.session import get_session

from consumer.cli.__main__ import cli
from consumer.cli.command import parse
from deploy.local import emulator as emulator_part
from deploy.local import ports
from media.aws.clients import Clients
from media.aws.sqs import MessageQueues
from media.settings import QUEUES, Settings, load
from tests.conftest import Database, EmulatedAws

ROOT = Path(__file__).parents[3]
DEADLINE = 60.0
"""Seconds for one command."""


@dataclass(frozen=True, slots=True)
class CompletedCommand:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class OperatorConsole:
    """Five queues with their dead-letter queues, a database, and the environment of a command that uses them."""

    queues: MessageQueues
    sqs: Any
    env: Mapping[str, str]
    settings: Settings

    @property
    def dsn(self) -> str:
        return self.settings.database_url

    async def start(self, *arguments: str, **env: str) -> asyncio.subprocess.Process:
        """Start an operator's command as a process."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            cwd=ROOT,
            env={**os.environ, **self.env, **env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def dlq(self, *arguments: str, endpoint: str | None = None) -> CompletedCommand:
        """Run `python -m consumer.cli dlq` with these arguments in this process."""
        settings = self.settings.model_copy(update={"aws_endpoint_url": endpoint} if endpoint else {})
        return await self.run(["dlq", *arguments], settings)

    async def replay(self, *arguments: str) -> CompletedCommand:
        """Run `python -m consumer.cli replay` with these arguments in this process."""
        return await self.run(["replay", *arguments], self.settings)

    async def run(self, arguments: Sequence[str], settings: Settings) -> CompletedCommand:
        """Run `python -m consumer.cli` with these arguments and settings in this process."""
        return await _captured(parse(cli, arguments)(settings))

    async def add_dead_letter(
        self, queue: str, body: str, error: str = "attempts_exhausted", reason: str = "it broke"
    ) -> None:
        """Send a dead letter as the executor does."""
        attributes = {"error": error, "reason": reason, "source-queue": queue, "first-received": f"{time.time():.3f}"}
        await self.queues.dead_letters(queue).send(body, group_id="dr-house", attributes=attributes)

    async def bodies(self, url: str) -> list[str]:
        """Empty a queue; returns the bodies of its messages."""
        bodies: list[str] = []
        while True:
            answer = await self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
            if not answer.get("Messages"):
                return bodies
            for message in answer["Messages"]:
                bodies.append(message["Body"])
                await self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


async def _captured(command: Coroutine[Any, Any, int]) -> CompletedCommand:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        async with asyncio.timeout(DEADLINE):
            status = await command
    return CompletedCommand(status, out.getvalue(), err.getvalue())


@pytest.fixture
async def console(
    emulator: EmulatedAws, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OperatorConsole]:
    env = dict(emulator.client_env) | {"MEDIA_DATABASE_URL": postgres.dsn, "OUTPUT_BUCKET": "unused"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:
        sqs = await stack.enter_async_context(get_session().create_client("sqs", region_name=emulator.region))
        urls = {name: await _with_dead_letters(sqs, name) for name in QUEUES}
        env |= {f"MEDIA_{name.upper().replace('-', '_')}_QUEUE_URL": url for name, url in urls.items()}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        settings = load(env_file=None)
        ours = await Clients(settings, stack).sqs()
        yield OperatorConsole(MessageQueues(ours, urls), sqs, env, settings)


async def _with_dead_letters(sqs: Any, name: str) -> str:
    own = f"{name}-{uuid4().hex[:8]}"
    await sqs.create_queue(QueueName=f"{own}-dlq")
    return str((await sqs.create_queue(QueueName=own))["QueueUrl"])


@pytest.fixture(scope="session")
async def account(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> AsyncIterator[emulator_part.Emulator]:
    """The emulator of a rehearsal, which takes every template as it is shipped."""
    folder, module = tmp_path_factory.mktemp("account"), "deploy.local.rehearsal.emulator_process"
    started = await emulator_part.start(folder, ports.free_port(), logs, module=module)
    try:
        yield started
    finally:
        await started.child.stop()


@pytest.fixture
async def clients(emulator: EmulatedAws, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Return what makes a client of the emulator, by the name of an AWS service."""
    async with _clients_of(emulator.client_env, monkeypatch) as client:
        yield client


@pytest.fixture
async def account_clients(account: emulator_part.Emulator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Return what makes a client of the rehearsal's emulator, by the name of an AWS service."""
    async with _clients_of(account.client_env(), monkeypatch) as client:
        yield client


@contextlib.asynccontextmanager
async def _clients_of(env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:

        async def client(service: str) -> Any:
            return await stack.enter_async_context(get_session().create_client(service))

        yield client
