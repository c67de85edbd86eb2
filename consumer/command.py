"""How an operator's command begins and ends: settings, signals, and all that goes wrong as words and a status."""

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TextIO

from media import schema
from media.errors import UnavailableError
from media.schema import SchemaError
from media.settings import Settings, SettingsError, load
from media.telemetry import configure_logging

FAILED, WRONG, INTERRUPTED = 1, 2, 130


def ended(command: Callable[[Settings], Coroutine[Any, Any, int]]) -> int:
    """Run a command; returns the exit status, its own unless it broke off.

    Then FAILED: a dependency is away, the database has another schema, or nobody reads what is written; WRONG: the
    configuration; INTERRUPTED: by Ctrl-C, where the command did not see to it itself.
    """
    _take_any_output()
    try:
        settings = load()
    except SettingsError as error:
        _tell(str(error))
        return WRONG
    configure_logging("console" if sys.stderr.isatty() else "json", "warning")
    try:
        status = asyncio.run(command(settings))
        sys.stdout.flush()
    except KeyboardInterrupt:
        _tell("interrupted; nothing is lost")
        return INTERRUPTED
    except (UnavailableError, SchemaError) as error:
        _tell(str(error))
    except OSError as error:
        _tell(f"{_what(error)}: {error}. What was done stays done")
    else:
        return status
    _give_up_output()
    return FAILED


def _take_any_output() -> None:
    """Letters quote what strangers wrote: no terminal's alphabet, and no closed stream, may end a command."""
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w")  # for as long as the process lives


def _what(error: OSError) -> str:
    return "nobody reads on" if isinstance(error, BrokenPipeError) else "what was found cannot be written"


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):  # when standard error is gone too, the status must do
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _give_up_output() -> None:
    """Write what is left of standard output where it can be written; else nowhere, and not with a trace at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def require_schema(settings: Settings) -> None:
    """Raises SchemaError unless the database is there and one that this code knows."""
    try:
        await schema.check(settings.database_url)
    except OSError as error:
        raise SchemaError(f"the database cannot be reached: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def interruptible() -> Iterator[asyncio.Event]:
    """An event that the first signal sets; a second one does what it does everywhere."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def interrupt() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, interrupt)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
