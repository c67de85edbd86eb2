"""The whole embedded stack: parts first, services on top, stopped in reverse order."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg

from deploy.local import child, clamav, emulator, ports, postgres, services, topology
from deploy.local.child import Child, PartError, Program
from deploy.local.clamav import PreparedClamd
from deploy.local.emulator import SAVE_DEADLINE, Emulator
from deploy.local.ports import HOST, Ports
from deploy.local.postgres import Postgres
from deploy.local.services import Addresses
from deploy.local.state import LastShutdown, State
from deploy.local.supervisor import Say, Service, Supervisor
from deploy.local.topology import Topology
from media.errors import UnavailableError
from media.schema import apply as schema
from media.schema import roles

PROBE_DEADLINE = aiohttp.ClientTimeout(total=5)
READY_STATUS = 200
POLL_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack. `settings` is the environment of its services; the API's role in the database is another.

    `owner_dsn` is the database as the schema's owner.
    """

    state: State
    ports: Ports
    api_url: str
    settings: Mapping[str, str]
    owner_dsn: str
    scanner: str
    consumer: Service
    api: Service
    supervisor: Supervisor


@dataclass(frozen=True, slots=True)
class _Parts:
    emulator: Emulator
    topology: Topology
    postgres: Postgres
    scanner: PreparedClamd
    clamd: Service


@dataclass(frozen=True, slots=True)
class _StartOptions:
    """The values that every step of a start needs. The parts that store data inherit `descriptors`."""

    state: State
    ports: Ports
    say: Say
    environ: Mapping[str, str]
    skip_drain: asyncio.Event
    descriptors: Sequence[int]


@contextlib.asynccontextmanager
async def running(
    folder: Path, say: Say, environ: Mapping[str, str] = os.environ, skip_drain: asyncio.Event | None = None
) -> AsyncIterator[Stack]:
    """Start everything in `folder`, and stop it in reverse order at the end of the block.

    `say` writes a line to the terminal. Once `skip_drain` is set, services are killed instead of drained; emulator and
    database still save their data.
    Raises StateInUseError, ForeignFolderError, PortError, and PartError for a part that does not start.
    """
    state = State(folder)
    await _wait_for_orphaned_parts(state, say)
    with state.held() as lock:
        chosen = ports.choose(environ)
        _discard_incomplete_data(state, say)
        for log in state.logs.glob("*.log"):
            log.unlink()
        options = _StartOptions(state, chosen, say, environ, skip_drain or asyncio.Event(), [lock])
        async with _parts(options) as parts, AsyncExitStack() as exits:
            stack = await _start_services(options, parts, exits)
            exits.push_async_callback(stack.supervisor.stop)
            exits.callback(state.retract)
            state.announce(chosen, stack.api_url, {**stack.settings, services.OWNER_DSN: stack.owner_dsn})
            yield stack


async def _wait_for_orphaned_parts(state: State, say: Say) -> None:
    """Wait for the emulator and database of a killed stack: they still save their data, and hold the folder's lock."""
    if not state.is_orphaned():
        return
    say(f"the stack on {state.root} was killed; waiting until its parts have saved their data")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SAVE_DEADLINE):
            while state.is_orphaned():  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(POLL_PAUSE)


def _discard_incomplete_data(state: State, say: Say) -> None:
    match state.begin():
        case LastShutdown.KILLED:
            say(
                "the last stop was not clean: stored data is kept, unfinished work is done again"
                f" (to start from nothing, delete {state.root})"
            )
        case LastShutdown.INCOMPLETE:
            say(f"the last stop was not clean: the data in {state.root} is incomplete and is discarded")
            state.wipe_data()
        case LastShutdown.CLEAN:
            pass


@contextlib.asynccontextmanager
async def _parts(options: _StartOptions) -> AsyncIterator[_Parts]:
    """Run emulator, database and scanner. If the first two end in order, the stored data is complete."""
    data_parts: list[Child] = []
    try:
        async with AsyncExitStack() as exits:
            yield await _start_parts(options, exits, data_parts)
    finally:
        if all(part.returncode == 0 for part in data_parts):
            options.state.finish()


async def _start_parts(options: _StartOptions, exits: AsyncExitStack, data_parts: list[Child]) -> _Parts:
    """Start the parts; `exits` stops each. Those that store data are added to `data_parts`."""
    state, chosen, environ = options.state, options.ports, options.environ

    async def start_aws() -> tuple[Emulator, Topology]:
        aws = await emulator.start(state.emulator, chosen.emulator, state.logs, options.descriptors)
        exits.push_async_callback(_stop_undisturbed, aws.child)
        data_parts.append(aws.child)
        return aws, await topology.apply(aws.url, services.cors_origins(chosen.api, environ))

    async def start_postgres() -> Postgres:
        password = state.secrets().postgres_password
        server = await postgres.start(state.postgres, chosen.postgres, state.logs, password, options.descriptors)
        exits.push_async_callback(_stop_undisturbed, server.child)
        data_parts.append(server.child)
        try:
            await postgres.create_roles(server)
            await schema.apply(server.dsn())
        except (asyncpg.PostgresError, UnavailableError) as error:  # a full disk, mostly
            raise PartError(f"the database cannot be set up: {error}") from error
        return server

    async def start_clamd() -> tuple[PreparedClamd, Service]:
        """Start clamd as a service, since it stores nothing: it is restarted when it dies, and scans wait meanwhile."""
        prepared = exits.enter_context(clamav.prepare(state.clamav, clamav.find_signatures(state.clamav, environ)))
        clamd = Service("clamd", lambda: prepared.launch(state.logs), options.say)
        exits.push_async_callback(_stop, clamd, options.skip_drain)
        await clamd.start()
        return prepared, clamd

    async with child.first_error(), asyncio.TaskGroup() as group:
        aws = group.create_task(start_aws())
        server = group.create_task(start_postgres())
        scanner = group.create_task(start_clamd())
    return _Parts(*aws.result(), server.result(), *scanner.result())


async def _stop(part: Child | Service, skip_drain: asyncio.Event) -> None:
    """Stop it after its drain, or kill it once `skip_drain` is set: its work is done again at the next start."""

    async def kill() -> None:
        await skip_drain.wait()
        part.kill()

    killer = asyncio.create_task(kill(), name=f"kill {part.name} without a drain")
    try:
        await part.stop()
    finally:
        killer.cancel()


async def _stop_undisturbed(part: Child) -> None:
    """Stop a part that stores data. A cancellation meanwhile must not kill it before it has saved."""
    stopping = asyncio.create_task(part.stop(), name=f"stop {part.name}")
    try:
        await asyncio.shield(stopping)
    except asyncio.CancelledError:
        await stopping
        raise


async def _start_services(options: _StartOptions, parts: _Parts, exits: AsyncExitStack) -> Stack:
    state, chosen, environ = options.state, options.ports, options.environ
    scanner, dsn = parts.scanner.signatures.description, parts.postgres.dsn(user=roles.CONSUMER)
    addresses = Addresses(chosen, parts.emulator, parts.topology, dsn, parts.scanner.address, scanner)
    env = services.settings(addresses, state.secrets(), environ)

    async def start(name: str, port: int, path: str) -> Child:
        url = f"http://{HOST}:{port}{path}"
        async with aiohttp.ClientSession(timeout=PROBE_DEADLINE) as http:
            own = env | {"MEDIA_DATABASE_URL": parts.postgres.dsn(user=roles.API)} if name == "api" else env
            return await _start_probed(services.service(name, state, own), state, port, lambda: _is_ready(http, url))

    consumer = Service("consumer", lambda: start("consumer", chosen.consumer, "/readyz"), options.say)
    api = Service("api", lambda: start("api", chosen.api, "/health"), options.say)
    program = services.mediaconvert(state, addresses, environ)
    transcoder = await _start_probed(
        program, state, chosen.mediaconvert, lambda: child.accepts_connections(HOST, chosen.mediaconvert)
    )
    for part in (transcoder, consumer, api):
        exits.push_async_callback(_stop, part, options.skip_drain)
    async with child.first_error(), asyncio.TaskGroup() as group:
        group.create_task(consumer.start())
        group.create_task(api.start())
    supervisor = Supervisor(
        parts=[parts.emulator.child, parts.postgres.child, transcoder], services=[consumer, api, parts.clamd]
    )
    return Stack(state, chosen, addresses.api_url, env, parts.postgres.dsn(), scanner, consumer, api, supervisor)


async def _start_probed(program: Program, state: State, port: int, probe: Callable[[], Awaitable[bool]]) -> Child:
    started = await child.start(program, state.logs)

    async def is_ready() -> bool:
        # Another stack may have taken the port since it was found free, and answers for this one.
        return await probe() and started.listens_on(port)

    try:
        await started.until_ready(is_ready)
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
