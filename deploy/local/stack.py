"""The whole embedded stack: parts first, services on top, stopped in reverse order."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from deploy.local import child, clamav, emulator, ports, postgres, services, topology
from deploy.local.child import Child, Program
from deploy.local.clamav import Prepared
from deploy.local.emulator import SAVE_DEADLINE, Emulator
from deploy.local.ports import HOST, Ports
from deploy.local.postgres import Postgres
from deploy.local.services import Addresses
from deploy.local.state import LastStop, State
from deploy.local.supervisor import Say, Service, Supervisor
from deploy.local.topology import Topology
from media.schema import apply as schema

PROBE_DEADLINE = aiohttp.ClientTimeout(total=5)
READY_STATUS = 200
PAUSE = 0.1


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


@dataclass(frozen=True, slots=True)
class _StartOptions:
    """What every step of a start needs. `descriptors` go to the parts that keep data."""

    state: State
    ports: Ports
    say: Say
    environ: Mapping[str, str]
    hurry: asyncio.Event
    descriptors: Sequence[int]


@contextlib.asynccontextmanager
async def running(
    folder: Path, say: Say, environ: Mapping[str, str] = os.environ, hurry: asyncio.Event | None = None
) -> AsyncIterator[Stack]:
    """Start everything in `folder`, and stop it in reverse order at the end of the block.

    `say` gets a line for each thing that somebody at the terminal should know. Once `hurry` is set, services are
    killed instead of drained; what the emulator and the database hold is saved all the same.
    Raises StateInUseError, ForeignFolderError, PortError, and PartError for a part that does not start.
    """
    state = State(folder)
    await _until_orphans_have_saved(state, say)
    with state.held() as lock:
        chosen = ports.choose(environ)
        _discard_doubtful_data(state, say)
        _forget_old_logs(state)
        options = _StartOptions(state, chosen, say, environ, hurry or asyncio.Event(), [lock])
        async with _parts(options) as parts, AsyncExitStack() as exits:
            stack = await _start_services(options, parts, exits)
            exits.push_async_callback(stack.supervisor.stop)
            exits.callback(state.retract)
            state.announce(chosen, stack.api_url, stack.settings)
            yield stack


async def _until_orphans_have_saved(state: State, say: Say) -> None:
    """After the stack alone was killed, emulator and database still save what they hold, and hold the folder."""
    if not state.is_orphaned():
        return
    say(f"the stack on {state.root} was killed; waiting until its parts have saved what they hold")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SAVE_DEADLINE):
            while state.is_orphaned():  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(PAUSE)


def _discard_doubtful_data(state: State, say: Say) -> None:
    match state.begin():
        case LastStop.KILLED:
            say(
                "the last stop was not a clean one: what was stored is kept, what was under way is done again"
                f" (to begin anew, delete {state.root})"
            )
        case LastStop.DOUBTFUL:
            say(f"the last stop was not a clean one: what {state.root} held is discarded, and all begins anew")
            state.wipe_data()
        case LastStop.CLEAN:
            pass


def _forget_old_logs(state: State) -> None:
    for log in state.logs.glob("*.log"):
        log.unlink()


@contextlib.asynccontextmanager
async def _parts(options: _StartOptions) -> AsyncIterator[_Parts]:
    """Emulator, database and scanner, started at once. Where the first two ended in order, the state is intact."""
    keepers: list[Child] = []
    try:
        async with AsyncExitStack() as exits:
            yield await _start_parts(options, exits, keepers)
    finally:
        if all(keeper.returncode == 0 for keeper in keepers):
            options.state.finish()


async def _start_parts(options: _StartOptions, exits: AsyncExitStack, keepers: list[Child]) -> _Parts:
    """Start the parts; each is stopped by `exits`, and those that keep data are added to `keepers`."""
    state, chosen, environ = options.state, options.ports, options.environ

    async def start_aws() -> tuple[Emulator, Topology]:
        aws = await emulator.start(state.emulator, chosen.emulator, state.logs, options.descriptors)
        exits.push_async_callback(_stop_undisturbed, aws.child)
        keepers.append(aws.child)
        return aws, await topology.apply(aws.url, services.cors_origins(chosen.api, environ))

    async def start_postgres() -> Postgres:
        password = state.secrets().postgres_password
        server = await postgres.start(state.postgres, chosen.postgres, state.logs, password, options.descriptors)
        exits.push_async_callback(_stop_undisturbed, server.child)
        keepers.append(server.child)
        await schema.apply(server.dsn())
        return server

    async def start_clamd() -> tuple[Prepared, Service]:
        """It holds nothing, so that a killed one is started again and scans wait meanwhile."""
        prepared = exits.enter_context(clamav.prepare(state.clamav, clamav.find_signatures(state.clamav, environ)))
        clamd = Service("clamd", lambda: prepared.launch(state.logs), options.say)
        exits.push_async_callback(_stop, clamd, options.hurry)
        await clamd.start()
        return prepared, clamd

    async with _first_error(), asyncio.TaskGroup() as group:
        aws = group.create_task(start_aws())
        server = group.create_task(start_postgres())
        scanner = group.create_task(start_clamd())
    return _Parts(*aws.result(), server.result(), *scanner.result())


async def _stop(part: Child | Service, hurry: asyncio.Event) -> None:
    """Let it drain, or kill it as soon as there is a hurry: its work is done again at the next start."""

    async def kill() -> None:
        await hurry.wait()
        part.kill()

    impatience = asyncio.create_task(kill(), name=f"kill {part.name} in a hurry")
    try:
        await part.stop()
    finally:
        impatience.cancel()


async def _stop_undisturbed(part: Child) -> None:
    """Stop what keeps data: a cancellation that comes meanwhile must not kill it before it has saved."""
    stopping = asyncio.create_task(part.stop(), name=f"stop {part.name}")
    try:
        await asyncio.shield(stopping)
    except asyncio.CancelledError:
        await stopping
        raise


async def _start_services(options: _StartOptions, parts: _Parts, exits: AsyncExitStack) -> Stack:
    state, chosen, environ = options.state, options.ports, options.environ
    scanner = parts.scanner.signatures.description
    addresses = Addresses(chosen, parts.emulator, parts.topology, parts.postgres.dsn(), parts.scanner.address, scanner)
    env = services.settings(addresses, state.secrets(), environ)

    async def start(name: str, port: int, path: str) -> Child:
        return await _start_service(services.service(name, state, env), state, f"http://{HOST}:{port}{path}")

    consumer = Service("consumer", lambda: start("consumer", chosen.consumer, "/readyz"), options.say)
    api = Service("api", lambda: start("api", chosen.api, "/health"), options.say)
    transcoder = await _start_transcoder(services.mediaconvert(state, addresses, environ), state, chosen.mediaconvert)
    for part in (transcoder, consumer, api):
        exits.push_async_callback(_stop, part, options.hurry)
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
