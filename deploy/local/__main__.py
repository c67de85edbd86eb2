"""The command line of the embedded stack: serve, process, token, events, rehearse, cli, stop, bench."""

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
from deploy.local import child, events, preflight, process, report, stack, tokens
from deploy.local.announcement import printable
from deploy.local.child import PartError
from deploy.local.ports import PortError
from deploy.local.state import ForeignFolderError, Running, State, StateInUseError, state_folder
from media.settings import SettingsError

USAGE = 2
FAILED = 1
INTERRUPTED = 130
START_DEADLINE = 120.0
"""Seconds that a command waits for a stack that another command is starting."""

STOP_DEADLINE = 120.0
"""Seconds that `stop` waits for the stack to end."""

POLL_PAUSE = 0.1
"""Seconds between two looks at the state folder."""


class NoStackError(Exception):
    """The command needs a running stack and there is none."""


class OutputError(Exception):
    """The results cannot be written."""


def show(text: str) -> None:
    """Write a result to standard output, at once. Raises OutputError."""
    try:
        print(text, flush=True)
    except BrokenPipeError as error:
        raise OutputError("the output was closed before all results were written") from error
    except OSError as error:
        raise OutputError(f"the results cannot be written: {error.strerror}") from error


def _start(state: State, skip_drain: asyncio.Event) -> AbstractAsyncContextManager[stack.Stack]:
    """Return a context manager that runs a stack. Raises SettingsError before anything is started."""
    preflight.check(state.clamav)
    return stack.running(state.root, say, skip_drain=skip_drain)


async def serve(state: State, skip_drain: asyncio.Event) -> int:
    """Run the whole stack until Ctrl-C, or until a part of it ends."""
    started = time.monotonic()
    async with _start(state, skip_drain) as up:
        say(f"ready after {time.monotonic() - started:.1f} s: http://localhost:{up.ports.api}/")
        say(f"  ClamAV has {up.scanner}")
        say(f"  logs: {state.logs}, settings of the services: {state.root / 'settings.env'}, Ctrl-C ends it")
        say(await up.supervisor.failure())
    return FAILED


async def process_files(
    state: State, request: process.ProcessRequest, skip_drain: asyncio.Event, *, as_json: bool
) -> int:
    """Send files through the running stack, or through one started for this command."""
    progress = report.Progress(len(request.files))
    async with _any_stack(state, skip_drain) as running:
        try:
            results = await process.process(request, running, state.secrets().jwt_secret, progress)
        finally:
            progress.clear()
        if state.running() is None:
            say("the stack ended meanwhile: see the terminal that it was started in")
    if as_json:
        show(json.dumps([result.model_dump(mode="json") for result in results], indent=1))
    else:
        show(report.table(results))
    return 0 if all(result.is_good for result in results) else FAILED


@asynccontextmanager
async def _any_stack(state: State, skip_drain: asyncio.Event) -> AsyncIterator[Running]:
    """Yield the running stack, or start one for the block. It is not stopped while another command still uses it."""
    async with AsyncExitStack() as exits:
        with state.used():  # released before the stack stops, since that waits for all users
            yield await _join_or_start(state, exits, skip_drain)


async def _join_or_start(state: State, exits: AsyncExitStack, skip_drain: asyncio.Event) -> Running:
    async with asyncio.timeout(START_DEADLINE):
        while (running := state.running()) is None:
            try:
                up = await exits.enter_async_context(_start(state, skip_drain))
                exits.callback(asyncio.create_task(_report_failure(up), name="report failure").cancel)
                exits.push_async_callback(_until_unused, state, skip_drain)
            except StateInUseError:  # another command starts or stops a stack: look again
                await asyncio.sleep(POLL_PAUSE)
    return running


async def _report_failure(up: stack.Stack) -> None:
    """Say at once which part ended for good, before others fail because they cannot reach it."""
    say(await up.supervisor.failure())


async def _until_unused(state: State, skip_drain: asyncio.Event) -> None:
    if state.is_used():
        say("another command still uses this stack; waiting for it")
    while state.is_used() and not skip_drain.is_set():  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(POLL_PAUSE)


async def print_token(state: State, user: str, role: str) -> int:
    """Write a token for the running stack to standard output."""
    _require_running(state)
    show(tokens.mint(state.secrets().jwt_secret, user=user, role=role))
    return 0


async def show_events(state: State, *, from_start: bool) -> int:
    """Write the running stack's events to standard output, a line each, until interrupted."""
    await events.print_events(_require_running(state).settings, show, from_start=from_start)
    return 0


async def rehearse(state: State) -> int:
    """Type the README's commands into a new account, start what comes of them, and say what is not as in an account."""
    from deploy.local.rehearsal.deployment import deployed, start_over  # noqa: PLC0415 - only this needs an AWS CLI
    from deploy.local.rehearsal.stand_ins import changes  # noqa: PLC0415 - as above

    state.claim()
    with State(state.root / "rehearsal").held(), start_over(state.root / "rehearsal" / "account") as folder:
        async with deployed(folder, os.environ) as up, up.http() as http:
            async with http.get(f"{up.public_url}/health", raise_for_status=True):
                show(f"{up.public_url} is healthy")
            for name, tasks in sorted(up.tasks.items()):
                show(f"{len(tasks):3}  {name}: {tasks[0].definition.task_definition_arn.rpartition('/')[2]}")
    show("not as in an account:")
    for name, text in changes().items():
        show(f"  {name}: {text}")
    return 0


def operate(state: State, arguments: list[str]) -> int:
    """Run an operator's command, `python -m consumer.cli`, with the environment of the running stack's services."""
    from consumer.cli.__main__ import main as operator_main  # noqa: PLC0415 - the handlers take a second to load

    wants_help = not {"-h", "--help"}.isdisjoint(arguments)
    environ = child.base_environment() | ({} if wants_help else _require_running(state).settings)
    os.environ.clear()
    os.environ.update(environ)
    return operator_main(arguments)


async def stop(state: State) -> int:
    """End the stack that runs on this state folder, and wait until it has ended."""
    running = _require_running(state)
    os.kill(running.pid, signal.SIGTERM)  # it holds the lock, so the pid is not yet reused
    try:
        async with asyncio.timeout(STOP_DEADLINE):
            while state.is_held():  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(POLL_PAUSE)
    except TimeoutError:
        say(f"the stack (pid {running.pid}) has not ended within {STOP_DEADLINE:.0f} s")
        return FAILED
    say("stopped")
    return 0


def _require_running(state: State) -> Running:
    running = state.running()
    if running is None:
        raise NoStackError(f"no stack runs on {state.root}; start one with ./run.sh")
    return running


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.sh", description="The media service with everything that it depends on.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="run the whole stack until Ctrl-C (the default)")
    sending = commands.add_parser("process", help="send files through the service and wait for the results")
    sending.add_argument("--json", action="store_true", help="one JSON array on standard output and nothing else")
    sending.add_argument("--out", type=Path, metavar="DIR", help="download the renditions into DIR/<asset_id>/")
    sending.add_argument(
        "--type", choices=["image", "video", "audio", "document"], help="asset type, instead of the file's own"
    )
    sending.add_argument("--as", dest="sender", choices=["recording"], help="send the file as the webinar service does")
    sending.add_argument("files", type=Path, nargs="+", metavar="FILE")
    minting = commands.add_parser("token", help="print a token for the running stack")
    minting.add_argument("--user", default=process.USER, metavar="ID", help="whose token (default: %(default)s)")
    minting.add_argument("--role", default="user", choices=["user", "service", "admin"], help="(default: %(default)s)")
    telling = commands.add_parser("events", help="print what the running stack tells other services, an event a line")
    telling.add_argument("--from-start", action="store_true", help="also what its archive still has")
    commands.add_parser("rehearse", help="type the README's commands for a deployment into an emulated account")
    commands.add_parser("cli", help="run an operator's command on the running stack: ./run.sh cli --help")
    commands.add_parser("stop", help="end a stack left running")
    measuring = commands.add_parser("bench", help="run a benchmark of tests/bench", add_help=False)
    measuring.add_argument("name", metavar="NAME")
    measuring.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _process_request(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> process.ProcessRequest:
    unusable = [str(file) for file in arguments.files if not (file.is_file() and os.access(file, os.R_OK))]
    if unusable:
        parser.error(f"not files that can be read: {', '.join(map(printable, unusable))}")
    if arguments.sender == "recording" and arguments.type not in (None, "video"):
        parser.error("a recording is a video: --type does not go with --as recording")
    if arguments.out is not None:
        _make_folder(parser, arguments.out)
    return process.ProcessRequest(arguments.files, arguments.out, arguments.type, arguments.sender == "recording")


def _make_folder(parser: argparse.ArgumentParser, folder: Path) -> None:
    """Make the folder, so that an error with it is reported before any file is sent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        parser.error(f"not a folder: {printable(folder)}")
    except OSError as error:
        parser.error(f"the folder {printable(folder)} cannot be made: {error.strerror}")
    if not os.access(folder, os.W_OK | os.X_OK):
        parser.error(f"the folder {printable(folder)} cannot be written to")


def _select_command(
    arguments: list[str], downloads: Mapping[str, str], skip_drain: asyncio.Event
) -> tuple[Coroutine[None, None, int], int]:
    """Return the command to run, and its exit status when it is interrupted: 0 for `serve`, which ends that way."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command == "bench":
        _run_benchmark(given.name, given.arguments, downloads)
    state = State(state_folder())
    match given.command:
        case "process":
            return process_files(state, _process_request(parser, given), skip_drain, as_json=given.json), INTERRUPTED
        case "token":
            return print_token(state, given.user, given.role), INTERRUPTED
        case "events":
            return show_events(state, from_start=given.from_start), 0
        case "rehearse":
            return rehearse(state), INTERRUPTED
        case "stop":
            return stop(state), INTERRUPTED
        case _:
            return serve(state, skip_drain), 0


def _run_benchmark(name: str, arguments: list[str], downloads: Mapping[str, str]) -> NoReturn:
    """Replace this process with a benchmark. It may install packages, so it gets the variables for downloads."""
    env = {**os.environ, **downloads, "PYTHONPATH": str(Path(__file__).parents[2])}
    os.execve(sys.executable, [sys.executable, "-P", "-m", f"tests.bench.{name}", *arguments], env)  # noqa: S606


async def _until_signalled(work: Coroutine[None, None, int], interrupted: int, skip_drain: asyncio.Event) -> int:
    """Run `work`; stop in order at a first SIGINT, SIGTERM or SIGHUP, and set `skip_drain` at a second.

    At a third, Python's own handler acts. Only the first SIGHUP counts, since a closed terminal sends it twice: by its
    shell and by the kernel. An ignored SIGHUP (nohup) stays ignored.
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
        skip_drain.set()
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
    """Run a command; exit status 0 done, 1 something failed, 2 wrong usage or settings, 130 interrupted."""
    accept_any_output()
    downloads = child.download_environment()
    child.restrict_environment()
    skip_drain = asyncio.Event()
    try:
        if arguments[:1] == ["cli"]:  # Click parses what follows: argparse would take its options for ours
            return operate(State(state_folder()), arguments[1:])
        work, interrupted = _select_command(arguments, downloads, skip_drain)
        return asyncio.run(_until_signalled(work, interrupted, skip_drain))
    except (PortError, StateInUseError, ForeignFolderError, SettingsError) as error:
        say(f"run.sh: {error}")
        return USAGE
    except (PartError, NoStackError, TimeoutError) as error:
        say(f"run.sh: {error}")
    except OutputError as error:
        say(f"run.sh: {error}")
        discard_output()
    except OSError as error:  # mostly a state folder that cannot be made or written
        say(f"run.sh: {error.strerror or error}: {error.filename or state_folder()}")
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
