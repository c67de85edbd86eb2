"""Programs run once, within limits."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handlers.sandbox import (
    ChildOutputError,
    ChildStartError,
    ChildTimeoutError,
    CompletedChild,
    probe,
    run_limited,
)
from tests.unit.handlers.sandbox.children import MIB, TIMEOUT, becomes, processes_with, run_program


async def test_a_program_runs_to_its_end(tmp_path: Path) -> None:
    done = await run_program(["sh", "-c", "cat; echo oops >&2; exit 3"], cwd=tmp_path, stdin=b"in" * 100_000)
    assert done == CompletedChild(3, b"in" * 100_000, b"oops\n")


async def test_a_program_that_does_not_read_its_input_is_no_error(tmp_path: Path) -> None:
    assert (await run_program(["true"], cwd=tmp_path, stdin=bytes(MIB))).returncode == 0


async def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    marker = f"sleeper-{time.monotonic_ns()}"
    script = f"{sys.executable} -I -c 'import time; \"{marker}\"; time.sleep(3600)' & wait"
    with pytest.raises(ChildTimeoutError):
        await run_program(["sh", "-c", script], cwd=tmp_path, timeout=1.0)
    await becomes(lambda: not processes_with(marker))


async def test_start_that_is_canceled_ends_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is canceled when the program runs already, and has a child that holds its pipes."""
    without_namespaces = replace(probe(), namespaces=())
    monkeypatch.setattr("handlers.sandbox.process.probe", lambda: without_namespaces)
    marker, start = f"sleeper-{time.monotonic_ns()}", asyncio.create_subprocess_exec
    started, go = asyncio.Event(), asyncio.Event()

    async def start_slowly(*argv: str, **options: Any) -> Process:
        process = await start(*argv, **options)
        await becomes(lambda: len(processes_with(marker)) > 1)
        started.set()
        await go.wait()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_slowly)
    script = f"{sys.executable} -I -c 'import time; \"{marker}\"; time.sleep(3600)' & wait"
    running = asyncio.create_task(run_program(["sh", "-c", script], cwd=tmp_path))
    async with asyncio.timeout(TIMEOUT):
        await started.wait()
        running.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await running
    await becomes(lambda: not processes_with(marker))


async def test_too_much_output_stops_a_program(tmp_path: Path) -> None:
    with pytest.raises(ChildOutputError):
        await run_program(["cat", "/dev/zero"], cwd=tmp_path, stdout_limit=100_000)


async def test_only_the_end_of_standard_error_is_kept(tmp_path: Path) -> None:
    done = await run_program(["sh", "-c", "head -c 1000000 /dev/zero >&2; echo last >&2"], cwd=tmp_path)
    assert len(done.stderr) == 64 * 1024
    assert done.stderr.endswith(b"last\n")


async def test_a_used_up_cpu_limit_is_reported_as_its_signal(tmp_path: Path) -> None:
    limits = {"memory": 512 * MIB, "cpu_seconds": 1, "file_bytes": MIB, "timeout": TIMEOUT}
    done = await run_limited(["sh", "-c", "while :; do :; done"], cwd=tmp_path, **limits)  # type: ignore[arg-type] # seconds and bytes
    assert done.signal == signal.SIGXCPU


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
@pytest.mark.parametrize("isolated", [True, False])
async def test_the_signal_that_ended_a_program_is_known(
    number: signal.Signals, isolated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isolated:
        without_namespaces = replace(probe(), namespaces=())
        monkeypatch.setattr("handlers.sandbox.process.probe", lambda: without_namespaces)
    assert (await run_program(["sh", "-c", f"kill -{number} $$"], cwd=tmp_path)).signal == number
    assert (await run_program(["sh", "-c", "exit 3"], cwd=tmp_path)).signal is None


async def test_a_missing_program_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ChildStartError, match="no program"):
        await run_program(["no-such-program"], cwd=tmp_path)


@pytest.mark.parametrize("isolated", [True, False])
async def test_a_program_outlives_the_signals_that_end_the_whole_service(
    isolated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service manager sends SIGTERM to every process of the service; what runs may end in the drain."""
    if not isolated:
        monkeypatch.setattr("handlers.sandbox.process.probe", lambda: replace(probe(), namespaces=()))
    marker = f"patient-{time.monotonic_ns()}"
    waits = "while not pathlib.Path('go').exists(): time.sleep(0.02)"
    script = f"import pathlib, time; '{marker}'; pathlib.Path('up').touch()\n{waits}"
    running = asyncio.create_task(run_program([sys.executable, "-I", "-c", script], cwd=tmp_path))
    await becomes((tmp_path / "up").exists)
    assert processes_with(marker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for pid in processes_with(marker):  # bwrap and the program itself
            with suppress(ProcessLookupError):
                os.kill(int(pid), number)
    (tmp_path / "go").touch()
    assert (await running).returncode == 0
