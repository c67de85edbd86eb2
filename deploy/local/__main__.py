"""The command line of the embedded stack: serve, process, token, rehearse, cli, stop, bench."""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NoReturn

from consumer.cli.command import accept_any_output, discard_output
from consumer.cli.command import tell as say
from deploy.local import child, preflight, process, report, stack, tokens, topology
from deploy.local.announcement import printable
from deploy.local.child import PartError
from deploy.local.ports import PortError
from deploy.local.state import ForeignFolderError, Running, State, StateInUseError, state_folder
from media.settings import SettingsError

USAGE = 2
FAILED = 1
INTERRUPTED = 130
START_PATIENCE = 120.0
"""Seconds that one command waits for a stack that another one is starting."""

STOP_PATIENCE = 120.0
PAUSE = 0.1


class NoStackError(Exception):
    """The command needs a running stack and there is none."""


class OutputError(Exception):
    """The results cannot be written."""


def show(text: str) -> None:
    """Write a result to standard output, at once. Raises OutputError."""
    try:
        print(text, flush=True)
    except BrokenPipeError as error:
        raise OutputError("nobody reads the rest of the results") from error
    except OSError as error:
        raise OutputError(f"the results cannot be written: {error.strerror}") from error


def _start(state: State, hurry: asyncio.Event) -> AbstractAsyncContextManager[stack.Stack]:
    """A stack for the block. Raises SettingsError before anything is started."""
    preflight.check(state.clamav)
    return stack.running(state.root, say, hurry=hurry)


async def serve(state: State, hurry: asyncio.Event) -> int:
    """The whole stack until Ctrl-C, or until a part of it ends."""
    begun = time.monotonic()
    async with _start(state, hurry) as up:
        say(f"ready after {time.monotonic() - begun:.1f} s: http://localhost:{up.ports.api}/")
        say(f"  ClamAV has {up.scanner}")
        say(f"  logs: {state.logs}, settings of the services: {state.root / 'settings.env'}, Ctrl-C ends it")
        say(await up.supervisor.failure())
    return FAILED


async def process_files(state: State, order: process.Order, hurry: asyncio.Event, *, as_json: bool) -> int:
    """Send files through the stack that runs, or through one started for this."""
    progress = report.Progress(len(order.files))
    async with _any_stack(state, hurry) as running:
        try:
            results = await process.process(order, running, state.secrets().jwt_secret, progress)
        finally:
            progress.clear()
        if state.running() is None:
            say("the stack ended meanwhile: the terminal that it was started in says why")
    if as_json:
        show(json.dumps([result.model_dump(mode="json") for result in results], indent=1))
    else:
        show(report.table(results))
    return 0 if all(result.is_good for result in results) else FAILED


@asynccontextmanager
async def _any_stack(state: State, hurry: asyncio.Event) -> AsyncIterator[Running]:
    """The running stack, else one for the block; it is not stopped while another command still uses it."""
    async with AsyncExitStack() as exits:
        with state.used():  # left before the stack is stopped, which waits for the other users
            yield await _join_or_start(state, exits, hurry)


async def _join_or_start(state: State, exits: AsyncExitStack, hurry: asyncio.Event) -> Running:
    async with asyncio.timeout(START_PATIENCE):
        while (running := state.running()) is None:
            try:
                up = await exits.enter_async_context(_start(state, hurry))
                exits.callback(asyncio.create_task(_tell_of_failure(up), name="tell of failure").cancel)
                exits.push_async_callback(_until_unused, state, hurry)
            except StateInUseError:  # one that starts, or stops: see what comes of it
                await asyncio.sleep(PAUSE)
    return running


async def _tell_of_failure(up: stack.Stack) -> None:
    """A part that ends for good takes the rest with it; that is told at once, and not by who cannot reach it."""
    say(await up.supervisor.failure())


async def _until_unused(state: State, hurry: asyncio.Event) -> None:
    if state.is_used():
        say("another command still uses this stack; waiting for it")
    while state.is_used() and not hurry.is_set():  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(PAUSE)


async def print_token(state: State, user: str, role: str) -> int:
    """A token for the running stack, on standard output."""
    _require_running(state)
    show(tokens.mint(state.secrets().jwt_secret, user=user, role=role))
    return 0


async def rehearse(state: State) -> int:
    """service.yaml, created in the running stack's emulator; what became of it on standard output."""
    settings = _require_running(state).settings
    from deploy.local import rehearsal  # noqa: PLC0415 - cfn-lint takes seconds to load, and only this needs it

    made = await rehearsal.rehearse(settings["AWS_ENDPOINT_URL"], topology.ENVIRONMENT)
    for kind, count in sorted(made.resources.items()):
        show(f"{count:3}  {kind}")
    for name, value in sorted(made.outputs.items()):
        show(f"{name} = {value}")
    show(f"left out, the emulator does not know them: {', '.join(rehearsal.UNKNOWN)}")
    return 0


def operate(state: State, arguments: list[str]) -> int:
    """Run an operator's command, `python -m consumer.cli`, with the environment of the running stack's services."""
    from consumer.cli.__main__ import main as operator_main  # noqa: PLC0415 - the handlers take a second to load

    wants_help = not {"-h", "--help"}.isdisjoint(arguments)
    environ = child.inherited() | ({} if wants_help else _require_running(state).settings)
    os.environ.clear()
    os.environ.update(environ)
    return operator_main(arguments)


async def stop(state: State) -> int:
    """End the stack that runs on this state folder, and wait until it has ended."""
    running = _require_running(state)
    os.kill(running.pid, signal.SIGTERM)  # it holds the lock at this moment, so the number is its own
    try:
        async with asyncio.timeout(STOP_PATIENCE):
            while state.is_held():  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        say(f"the stack (pid {running.pid}) has not ended within {STOP_PATIENCE:.0f} s")
        return FAILED
    say("stopped")
    return 0


def _require_running(state: State) -> Running:
    running = state.running()
    if running is None:
        raise NoStackError(f"no stack runs on {state.root}; start one with ./run.sh")
    return running


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.sh", description="The media service with everything it stands on.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="run the whole stack until Ctrl-C (the default)")
    sending = commands.add_parser("process", help="send files through the service and wait for the results")
    sending.add_argument("--json", action="store_true", help="one JSON array on standard output and nothing else")
    sending.add_argument("--out", type=Path, metavar="DIR", help="download the renditions into DIR/<asset_id>/")
    sending.add_argument("--type", choices=["image", "video", "audio", "document"], help="instead of the file's own")
    sending.add_argument("--as", dest="sender", choices=["recording"], help="the way the webinar service sends it")
    sending.add_argument("files", type=Path, nargs="+", metavar="FILE")
    minting = commands.add_parser("token", help="print a token for the running stack")
    minting.add_argument("--user", default=process.USER, metavar="ID", help="whose token (default: %(default)s)")
    minting.add_argument("--role", default="user", choices=["user", "service", "admin"], help="(default: %(default)s)")
    commands.add_parser("rehearse", help="create service.yaml in the running stack's emulator")
    commands.add_parser("cli", help="run an operator's command on the running stack: ./run.sh cli --help")
    commands.add_parser("stop", help="end a stack left running")
    measuring = commands.add_parser("bench", help="run a benchmark of tests/bench", add_help=False)
    measuring.add_argument("name", metavar="NAME")
    measuring.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _order(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> process.Order:
    unusable = [str(file) for file in arguments.files if not (file.is_file() and os.access(file, os.R_OK))]
    if unusable:
        parser.error(f"not files that can be read: {', '.join(map(printable, unusable))}")
    if arguments.sender == "recording" and arguments.type not in (None, "video"):
        parser.error("a recording is a video: --type does not go with --as recording")
    if arguments.out is not None:
        _require_writable(parser, arguments.out)
    return process.Order(arguments.files, arguments.out, arguments.type, arguments.sender == "recording")


def _require_writable(parser: argparse.ArgumentParser, folder: Path) -> None:
    """Make the folder, so that what is wrong with it is said before anything is sent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        parser.error(f"not a folder: {printable(folder)}")
    except OSError as error:
        parser.error(f"the folder {printable(folder)} cannot be made: {error.strerror}")
    if not os.access(folder, os.W_OK | os.X_OK):
        parser.error(f"the folder {printable(folder)} cannot be written to")


def _chosen(
    arguments: list[str], downloads: Mapping[str, str], hurry: asyncio.Event
) -> tuple[Coroutine[None, None, int], int]:
    """What to do, and the exit status when it is interrupted: for `serve` that is its way to end."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command == "bench":
        _bench(given.name, given.arguments, downloads)
    state = State(state_folder())
    match given.command:
        case "process":
            return process_files(state, _order(parser, given), hurry, as_json=given.json), INTERRUPTED
        case "token":
            return print_token(state, given.user, given.role), INTERRUPTED
        case "rehearse":
            return rehearse(state), INTERRUPTED
        case "stop":
            return stop(state), INTERRUPTED
        case _:
            return serve(state, hurry), 0


def _bench(name: str, arguments: list[str], downloads: Mapping[str, str]) -> NoReturn:
    """Become a benchmark. It may install what it compares with, so it gets what downloads need."""
    env = {**os.environ, **downloads, "PYTHONPATH": str(Path(__file__).parents[2])}
    os.execve(sys.executable, [sys.executable, "-P", "-m", f"tests.bench.{name}", *arguments], env)  # noqa: S606


async def _until_signalled(work: Coroutine[None, None, int], interrupted: int, hurry: asyncio.Event) -> int:
    """SIGINT, SIGTERM or SIGHUP once: stop in order. A second time: set `hurry`. A third: as Python does by itself.

    SIGHUP counts once: a terminal that is closed sends it twice, by its shell and by the kernel. Where it is ignored
    (nohup) it stays so.
    """
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        if received and number is signal.SIGHUP:
            return
        received.append(number)
        if len(received) == 1:
            task.cancel()
            return
        hurry.set()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if each is not signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN:
            loop.add_signal_handler(each, interrupt, each)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        say("stopped")
        return interrupted


def main(arguments: list[str]) -> int:
    """Exit status 0 done, 1 something failed, 2 wrong usage or settings, 130 interrupted."""
    accept_any_output()
    downloads = child.for_downloads()
    child.shield()
    hurry = asyncio.Event()
    try:
        if arguments[:1] == ["cli"]:  # Click parses what follows: argparse would take its options for ours
            return operate(State(state_folder()), arguments[1:])
        work, interrupted = _chosen(arguments, downloads, hurry)
        return asyncio.run(_until_signalled(work, interrupted, hurry))
    except (PortError, StateInUseError, ForeignFolderError, SettingsError) as error:
        say(f"run.sh: {error}")
        return USAGE
    except (PartError, NoStackError, TimeoutError) as error:
        say(f"run.sh: {error}")
    except OutputError as error:
        say(f"run.sh: {error}")
        discard_output()
    except OSError as error:  # a state folder that cannot be made or written, mostly
        say(f"run.sh: {error.strerror or error}: {error.filename or state_folder()}")
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
