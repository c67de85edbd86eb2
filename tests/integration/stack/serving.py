"""The command line as a child process: on pipes, or on a terminal of its own that can be closed."""

import asyncio
import contextlib
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from deploy.local.ports import free_port
from deploy.local.state import Running, State

ROOT = Path(__file__).parents[3]
START_DEADLINE = 60.0
STOP_DEADLINE = 40.0
COMMAND = (sys.executable, "-m", "deploy.local")


def environment(state: Path, **settings: str) -> dict[str, str]:
    """Return an environment without the caller's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIA_", "AWS_"))}
    return {**kept, "MEDIA_LOCAL_STATE": str(state), "MEDIA_API_PORT": str(free_port()), **settings}


class Serving:
    """A `serve` command as a child process; `output` holds the lines that it wrote so far."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, state: Path) -> None:
        self.process = process
        self.state = State(state)
        self.output: list[str] = []
        self._reader = reader

    @property
    def running(self) -> Running:
        running = self.state.running()
        assert running is not None
        return running

    async def wait_for_output(self, word: str) -> None:
        async with asyncio.timeout(START_DEADLINE):
            while word not in "".join(self.output):
                line = await self._reader.readline()
                assert line, f"ended after this output: {''.join(self.output)}"
                self.output.append(line.decode())

    async def wait_until_stopping(self) -> None:
        """Wait until it has begun to stop."""
        async with asyncio.timeout(STOP_DEADLINE):
            while self.state.running() is not None:  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(0.02)

    async def wait_for_exit(self) -> int:
        async with asyncio.timeout(STOP_DEADLINE):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def serving(state: Path, prefix: Sequence[str] = (), **settings: str) -> AsyncIterator[Serving]:
    """Yield a ready stack; stop it at the end of the block if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *prefix, *COMMAND, "serve", cwd=ROOT, env=environment(state, **settings), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    async with _ready(Serving(process, process.stderr, state)) as serve:
        yield serve


@contextlib.asynccontextmanager
async def serving_on_terminal(state: Path) -> AsyncIterator[tuple[Serving, asyncio.BaseTransport]]:
    """Yield a ready stack that leads the session of a terminal, and the terminal, which the test can close."""
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *("setsid", "--ctty", *COMMAND, "serve"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env=environment(state),
        )
    finally:
        os.close(theirs)
    output = asyncio.StreamReader()
    terminal, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(output), os.fdopen(ours, "rb", buffering=0)
    )
    try:
        async with _ready(Serving(process, output, state)) as serve:
            yield serve, terminal
    finally:
        terminal.close()


@contextlib.asynccontextmanager
async def _ready(serve: Serving) -> AsyncIterator[Serving]:
    try:
        await serve.wait_for_output("ready after")
        yield serve
    finally:
        with contextlib.suppress(ProcessLookupError):
            serve.process.send_signal(signal.SIGTERM)
        await serve.wait_for_exit()
