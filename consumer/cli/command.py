"""What operator commands share: parsing, settings, signals, `--json`, and failures as words and an exit status."""

import asyncio
import contextlib
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, TextIO

import click

from media.aws.s3 import MissingObjectError
from media.errors import RetryableError, UnavailableError
from media.schema import apply as schema
from media.schema.apply import SchemaError
from media.settings import Settings, SettingsError, load
from media.telemetry import configure_logging

PROGRAM = "python -m consumer.cli"
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class ExitStatus(IntEnum):
    """How a command ends."""

    DONE = 0
    INCOMPLETE = 1
    """Not all of it, or a dependency is away."""
    MISUSED = 2
    """Wrong usage or configuration."""
    INTERRUPTED = 130


type Operation = Callable[[Settings], Coroutine[Any, Any, int]]
"""What a command line asks for. It returns the exit status and may raise what `execute` turns into words."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line and nothing else.")


def parse_age(text: str) -> float:
    """Return the seconds of an age like `90s`, for an option. Raises click.BadParameter."""
    if not (match := _AGE.fullmatch(text)):
        raise click.BadParameter(f"{text!r} is not like 90s, 30m, 2h or 3d")
    return float(match[1]) * _SECONDS[match[2]]


def examples(*lines: str) -> str:
    """Write the end of a help text: command lines that somebody may copy."""
    # A backspace on a line of its own tells Click to keep the lines of the paragraph.
    return "\n".join(["\b", "Examples:", *(f"  {PROGRAM} {line}" for line in lines)])


def parse(command: click.Command, arguments: Sequence[str]) -> Operation:
    """Read a command line. Exits with status 0 after a help text, and with 2 when the line is wrong."""
    try:
        chosen = command.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    if isinstance(chosen, int):  # the status of an early end, which is how Click returns from --help
        sys.exit(chosen)
    operation: Operation = chosen
    return operation


def execute(command: click.Command, arguments: Sequence[str]) -> int:
    """Run a command line; return the exit status, the operation's own unless it broke off.

    Else INCOMPLETE: a dependency is away or refuses, the database has another schema, or the output cannot be written.
    MISUSED: the configuration. INTERRUPTED: Ctrl-C, where the operation did not handle it.
    """
    accept_any_output()
    try:
        operation = parse(command, arguments)
        settings = load()
        configure_logging("console" if sys.stderr.isatty() else "json", "warning", sys.stderr)
        status = asyncio.run(operation(settings))
        sys.stdout.flush()
    except KeyboardInterrupt:
        tell("interrupted; nothing is lost")
        return ExitStatus.INTERRUPTED
    except SettingsError as error:
        tell(str(error))
        return ExitStatus.MISUSED
    except (UnavailableError, SchemaError, RetryableError, MissingObjectError) as error:
        tell(str(error))
    except OSError as error:
        cause = "nobody reads on" if isinstance(error, BrokenPipeError) else "what was found cannot be written"
        tell(f"{cause}: {error}. What was done stays done")
    else:
        return status
    discard_output()
    return ExitStatus.INCOMPLETE


def accept_any_output() -> None:
    """Let neither a terminal's character set nor a closed stream end a command: dead letters quote strangers."""
    sys.stdout, sys.stderr = sys.stdout or _devnull(), sys.stderr or _devnull()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _devnull() -> TextIO:
    return Path(os.devnull).open("w")  # for as long as the process lives


def tell(text: str) -> None:
    """Write a line for people to standard error."""
    with contextlib.suppress(OSError):  # when standard error is gone too, the status must do
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def discard_output() -> None:
    """Write what is left of standard output, or drop it where it cannot be written, so that no trace follows."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def require_schema(settings: Settings) -> None:
    """Raise SchemaError unless the database is there and has a schema that this code knows."""
    try:
        await schema.check(settings.database_url)
    except UnavailableError as error:
        raise SchemaError(f"the database cannot be reached: {error.detail}") from error


@contextlib.contextmanager
def interruptible() -> Iterator[asyncio.Event]:
    """Provide an event that the first signal sets; a second one does what it does everywhere."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def restore() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def interrupt() -> None:
        stop.set()
        restore()

    for number in numbers:
        loop.add_signal_handler(number, interrupt)
    try:
        yield stop
    finally:
        restore()
