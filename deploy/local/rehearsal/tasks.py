"""Tasks as ECS runs them: command, environment, secrets and health check are those of the task definition."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local import child
from deploy.local.child import Child, PartError, Program
from deploy.local.ports import free_port
from deploy.local.rehearsal.account import Account
from deploy.local.rehearsal.definitions import Container, HealthCheck, TaskDefinition
from deploy.local.rehearsal.image import Image

SUCCESS = 0
FIRST_COMMAND_DEADLINE = 120.0
"""Seconds for a container that must end before others start."""
PORTS = {"api": "MEDIA_API_PORT", "consumer": "MEDIA_CONSUMER_PORT"}
"""The variable of the port that a container listens on."""


@dataclass(frozen=True, slots=True)
class Task:
    """A running task: its main container's process, and the port that it listens on."""

    definition: TaskDefinition
    child: Child
    port: int

    async def stop(self) -> int:
        """Send SIGTERM and wait for the stop timeout; return the exit status. Raises PartError when it was killed."""
        if not await self.child.stop():
            raise PartError(f"{self.child.name} has not ended within its stop timeout; {self.child.describe_exit()}")
        return self.child.returncode or 0


class Runner:
    """Starts tasks of one image. `changed` holds the variables of `stand_ins.py` that all tasks get."""

    def __init__(
        self, account: Account, image: Image, folder: Path, credentials: str, changed: Mapping[str, str]
    ) -> None:
        self._account = account
        self.image = image
        self._folder = folder
        self._credentials = credentials
        self._changed = changed
        self._started = 0

    async def start(self, definition: TaskDefinition, image: str) -> Task:
        """Start the containers of `image` in their order, and wait until the health check succeeds.

        Raises PartError when one ends, or does not become healthy within the time that the definition allows.
        """
        containers = [each for each in definition.container_definitions if each.image == image]
        first = [each for each in containers if not each.essential]
        [main] = [each for each in containers if each.essential]
        self._started += 1
        name = f"{definition.family}-{self._started}"
        port = free_port()
        for each in first:
            await self._run_to_end(await self._program(definition, each, f"{name}-{each.name}", port))
        program = await self._program(definition, main, name, port)
        started = await child.start(program, self._folder)
        try:
            if main.health_check:
                await _until_healthy(started, program, self._path(main.health_check.command[1:]), main.health_check)
        except BaseException:
            started.kill()
            await started.wait()
            raise
        return Task(definition, started, port)

    async def _run_to_end(self, program: Program) -> None:
        started = await child.start(program, self._folder)
        try:
            async with asyncio.timeout(FIRST_COMMAND_DEADLINE):
                status = await started.wait()
        finally:
            started.kill()
        if status != SUCCESS:
            raise PartError(started.describe_exit())

    async def _program(self, definition: TaskDefinition, container: Container, name: str, port: int) -> Program:
        role = definition.execution_role_arn
        secrets = {key: await self._account.secret(role, found) for key, found in container.secrets.items()}
        files = [await self._account.settings_file(role, file["value"]) for file in container.environment_files]
        listed = {key: value for file in reversed(files) for key, value in file.items()}  # of two, the first counts
        scratch = self._folder / "scratch" / name
        scratch.mkdir(parents=True)
        variables = {key: value.replace("/scratch", str(scratch)) for key, value in self.image.variables.items()}
        own = {
            "PATH": self.image.path,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self._credentials}/{definition.family}",
            **dict.fromkeys(PORTS.values(), str(port)),
        }
        return Program(
            name=name,
            argv=self._path(container.command),
            env={**self._paths(variables), **listed, **container.environment, **secrets, **self._changed, **own},
            cwd=self.image.app,
            stop_signal=signal.SIGTERM,
            stop_deadline=container.stop_timeout,
        )

    def _paths(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {name: value.replace("/app", str(self.image.app)) for name, value in variables.items()}

    def _path(self, words: Sequence[str]) -> list[str]:
        return [str(self.image.app) + word.removeprefix("/app") if word.startswith("/app/") else word for word in words]


async def _until_healthy(started: Child, program: Program, command: Sequence[str], check: HealthCheck) -> None:
    async def probe() -> bool:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(program.env),
            cwd=program.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(check.timeout):
                return await process.wait() == SUCCESS
        except TimeoutError:
            return False
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    await started.until_ready(probe, check.start_period + check.interval * check.retries)
