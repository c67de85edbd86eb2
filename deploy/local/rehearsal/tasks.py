"""Tasks as ECS runs them: command, environment, secrets and health check are those of the task definition."""

import asyncio
import re
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
from deploy.local.rehearsal.stand_ins import CONFIGURATION, VOLUMES
from handlers.scan.clamd.instream import Address
from handlers.scan.signatures.settings import ScannerSettings

SUCCESS = 0
FIRST_COMMAND_DEADLINE = 120.0
"""Seconds for a container that must end before others start."""
SCANNER = str(ScannerSettings.model_fields["clamd"].default)
"""Where the scanner of a task listens."""
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
    """Starts tasks. `images` are found by name; `changed` holds the variables of `stand_ins.py` that all tasks get."""

    def __init__(
        self,
        account: Account,
        images: Mapping[str, Image],
        logs: Path,
        volumes: Path,
        credentials: str,
        changed: Mapping[str, str],
    ) -> None:
        self._account = account
        self.images = images
        self._logs = logs
        self._volumes = volumes
        self._shared = {VOLUMES["clamd"]: volumes / "clamd"}  # one scanner serves all tasks
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
        port = free_port()
        for each in first:
            await self.run_to_end(definition, each, port)
        program, places = await self._program(definition, main, port)
        started = await child.start(program, self._logs)
        try:
            if main.health_check:
                command = [_localize(word, places) for word in main.health_check.command[1:]]
                await _until_healthy(started, program, command, main.health_check)
        except BaseException:
            started.kill()
            await started.wait()
            raise
        return Task(definition, started, port)

    async def start_alone(self, definition: TaskDefinition, container: Container, port: int) -> Child:
        """Start one container of a task, without a look at its health."""
        program, _ = await self._program(definition, container, port)
        return await child.start(program, self._logs)

    async def run_to_end(self, definition: TaskDefinition, container: Container, port: int = 0) -> None:
        """Run one container of a task. Raises PartError when it fails."""
        started = await self.start_alone(definition, container, port)
        try:
            async with asyncio.timeout(FIRST_COMMAND_DEADLINE):
                status = await started.wait()
        finally:
            started.kill()
        if status != SUCCESS:
            raise PartError(started.describe_exit())

    async def _program(
        self, definition: TaskDefinition, container: Container, port: int
    ) -> tuple[Program, dict[str, Path]]:
        """Return a container's program, and the folders that stand for those of its image."""
        self._started += 1
        number = self._started  # others start meanwhile
        name = f"{definition.family}-{container.name}-{number}"
        image, role = self.images[container.image], definition.execution_role_arn
        secrets = {key: await self._account.secret(role, found) for key, found in container.secrets.items()}
        files = [await self._account.settings_file(role, file["value"]) for file in container.environment_files]
        listed = {key: value for file in reversed(files) for key, value in file.items()}  # of two, the first counts
        places = self._places(image, self._volumes / str(number))
        own = {
            "PATH": image.path,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self._credentials}/{definition.family}",
            "MEDIA_SIGNATURES_FOLDER": str(places[VOLUMES["signatures"]]),
            "MEDIA_CLAMD": _localize(container.environment.get("MEDIA_CLAMD", SCANNER), places),
            **dict.fromkeys(PORTS.values(), str(port)),
        }
        variables = {key: _localize(value, places) for key, value in image.variables.items()}
        program = Program(
            name=name,
            argv=[_localize(word, places) for word in container.command],
            env={**variables, **listed, **container.environment, **secrets, **self._changed, **own},
            cwd=places["/app"],
            stop_signal=signal.SIGTERM,
            stop_deadline=container.stop_timeout,
        )
        return program, places

    @property
    def scanner(self) -> Address:
        """Where the one scanner listens, which serves all tasks."""
        return Address.parse(_localize(SCANNER, self._shared))

    def _places(self, image: Image, folder: Path) -> dict[str, Path]:
        """Make a container's volumes, and copies of its image's configuration that name them."""
        places = {volume: folder / name for name, volume in VOLUMES.items()} | self._shared
        for place in places.values():
            place.mkdir(parents=True, exist_ok=True)
        places |= {"/app": image.root / "app", CONFIGURATION: folder / "configuration"}
        places[CONFIGURATION].mkdir()
        for path in (image.root / CONFIGURATION.strip("/")).glob("*"):
            (places[CONFIGURATION] / path.name).write_text(_localize(path.read_text(), places))
        return places


def _localize(text: str, places: Mapping[str, Path]) -> str:
    """Put the folders of the rehearsal in the place of the image's."""
    return re.sub("|".join(map(re.escape, places)), lambda found: str(places[found[0]]), text)


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
