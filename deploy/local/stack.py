"""The whole embedded stack: parts first, services on top, stopped in reverse order."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from deploy.local import child, clamav, emulator, ports, postgres, services, topology
from deploy.local.child import Child, Program
from deploy.local.clamav import Prepared
from deploy.local.emulator import Emulator
from deploy.local.ports import HOST, Ports
from deploy.local.postgres import Postgres
from deploy.local.services import Addresses
from deploy.local.state import State
from deploy.local.supervisor import Say, Service, Supervisor
from deploy.local.topology import Topology
from media import schema

PROBE_DEADLINE = aiohttp.ClientTimeout(total=5)
READY_STATUS = 200


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack. `settings` is the environment of its services."""

    state: State
    ports: Ports
    api_url: str
    settings: Mapping[str, str]
    scanner: str
    consumer: Service
    api: Service
    supervisor: Supervisor


@dataclass(frozen=True, slots=True)
class _Parts:
    emulator: Emulator
    topology: Topology
    postgres: Postgres
    scanner: Prepared
    clamd: Service


@contextlib.asynccontextmanager
async def running(folder: Path, say: Say, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Stack]:
    """Start everything in `folder`, and stop it in reverse order at the end of the block.

    `say` gets a line for each thing that somebody at the terminal should know.
    Raises StateInUseError, PortError, and PartError for a part that does not start.
    """
    state = State(folder)
    with state.held():
        chosen = ports.choose(environ)
        _discard_doubtful_data(state, say)
        _forget_old_logs(state)
        async with _parts(state, chosen, say, environ) as parts, AsyncExitStack() as exits:
            stack = await _start_services(state, chosen, parts, exits, say, environ)
            exits.push_async_callback(stack.supervisor.stop)
            exits.callback(state.retract)
            state.announce(chosen, stack.api_url, stack.settings)
            yield stack


def _discard_doubtful_data(state: State, say: Say) -> None:
    """The emulator saves its state on SIGTERM only: after anything else it does not match the database."""
    if not state.begin():
        say(f"the last stop was not a clean one: what {state.root} held is discarded, and all begins anew")
        state.wipe_data()


def _forget_old_logs(state: State) -> None:
    for log in state.logs.glob("*.log"):
        log.unlink()


@contextlib.asynccontextmanager
async def _parts(state: State, chosen: Ports, say: Say, environ: Mapping[str, str]) -> AsyncIterator[_Parts]:
    """Emulator, database and scanner, started at once. Where the first two ended in order, the state is intact."""
    keepers: list[Child] = []
    try:
        async with AsyncExitStack() as exits:
            yield await _start_parts(state, chosen, say, environ, exits, keepers)
    finally:
        if all(keeper.returncode == 0 for keeper in keepers):
            state.finish()


async def _start_parts(
    state: State, chosen: Ports, say: Say, environ: Mapping[str, str], exits: AsyncExitStack, keepers: list[Child]
) -> _Parts:
    """Start the parts; each is stopped by `exits`, and those that keep data are added to `keepers`."""

    async def start_aws() -> tuple[Emulator, Topology]:
        aws = await emulator.start(state.emulator, chosen.emulator, state.logs)
        exits.push_async_callback(aws.child.stop)
        keepers.append(aws.child)
        return aws, await topology.apply(aws.url, services.cors_origins(chosen.api, environ))

    async def start_postgres() -> Postgres:
        password = state.secrets().postgres_password
        server = await postgres.start(state.postgres, chosen.postgres, state.logs, password)
        exits.push_async_callback(server.child.stop)
        keepers.append(server.child)
        await schema.apply(server.dsn())
        return server

    async def start_clamd() -> tuple[Prepared, Service]:
        """It holds nothing, so that a killed one is started again and scans wait meanwhile."""
        prepared = clamav.prepare(state.clamav, clamav.find_signatures(state.clamav, environ))
        clamd = Service("clamd", lambda: prepared.launch(state.logs), say)
        exits.callback(prepared.socket.unlink, missing_ok=True)
        exits.push_async_callback(clamd.stop)
        await clamd.start()
        return prepared, clamd

    async with _first_error(), asyncio.TaskGroup() as group:
        aws = group.create_task(start_aws())
        server = group.create_task(start_postgres())
        scanner = group.create_task(start_clamd())
    return _Parts(*aws.result(), server.result(), *scanner.result())


async def _start_services(
    state: State, chosen: Ports, parts: _Parts, exits: AsyncExitStack, say: Say, environ: Mapping[str, str]
) -> Stack:
    scanner = parts.scanner.signatures.description
    addresses = Addresses(chosen, parts.emulator, parts.topology, parts.postgres.dsn(), parts.scanner.address, scanner)
    env = services.settings(addresses, state.secrets(), environ)

    async def start(name: str, port: int, path: str) -> Child:
        return await _start_service(services.service(name, state, env), state, f"http://{HOST}:{port}{path}")

    consumer = Service("consumer", lambda: start("consumer", chosen.consumer, "/readyz"), say)
    api = Service("api", lambda: start("api", chosen.api, "/health"), say)
    transcoder = await _start_transcoder(services.mediaconvert(state, addresses, environ), state, chosen.mediaconvert)
    exits.push_async_callback(transcoder.stop)
    for service in (consumer, api):
        exits.push_async_callback(service.stop)
    async with _first_error(), asyncio.TaskGroup() as group:
        group.create_task(consumer.start())
        group.create_task(api.start())
    supervisor = Supervisor(
        parts=[parts.emulator.child, parts.postgres.child, transcoder], services=[consumer, api, parts.clamd]
    )
    return Stack(state, chosen, addresses.api_url, env, scanner, consumer, api, supervisor)


async def _start_transcoder(program: Program, state: State, port: int) -> Child:
    return await _start_probed(program, state, lambda: child.accepts(HOST, port))


async def _start_service(program: Program, state: State, url: str) -> Child:
    async with aiohttp.ClientSession(timeout=PROBE_DEADLINE) as http:
        return await _start_probed(program, state, lambda: _is_ready(http, url))


async def _start_probed(program: Program, state: State, probe: Callable[[], Awaitable[bool]]) -> Child:
    started = await child.start(program, state.logs)
    try:
        await started.until_ready(probe)
    except BaseException:
        await started.stop()
        raise
    return started


async def _is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as response:
            return response.status == READY_STATUS
    except (aiohttp.ClientError, TimeoutError):
        return False


@contextlib.asynccontextmanager
async def _first_error() -> AsyncIterator[None]:
    """Out of a task group, the first error alone: the others were cancelled because of it."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group
