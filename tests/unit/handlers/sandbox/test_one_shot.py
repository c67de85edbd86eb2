"""Programs run once, within limits."""

import sys
import time
from pathlib import Path

import pytest

from handlers.sandbox import (
    ChildOutputError,
    ChildStartError,
    ChildTimeoutError,
    CompletedChild,
)
from tests.unit.handlers.sandbox.children import MIB, becomes, processes_that_say, run_once


async def test_a_program_runs_to_its_end(tmp_path: Path) -> None:
    done = await run_once(["sh", "-c", "cat; echo oops >&2; exit 3"], cwd=tmp_path, stdin=b"in" * 100_000)
    assert done == CompletedChild(3, b"in" * 100_000, b"oops\n")


async def test_a_program_that_does_not_read_its_input_is_no_error(tmp_path: Path) -> None:
    assert (await run_once(["true"], cwd=tmp_path, stdin=bytes(MIB))).returncode == 0


async def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    marker = f"sleeper-{time.monotonic_ns()}"
    script = f"{sys.executable} -I -c 'import time; \"{marker}\"; time.sleep(3600)' & wait"
    with pytest.raises(ChildTimeoutError):
        await run_once(["sh", "-c", script], cwd=tmp_path, timeout=1.0)
    await becomes(lambda: not processes_that_say(marker))


async def test_a_program_that_says_too_much_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ChildOutputError):
        await run_once(["cat", "/dev/zero"], cwd=tmp_path, stdout_limit=100_000)


async def test_complaints_are_cut_to_their_end(tmp_path: Path) -> None:
    done = await run_once(["sh", "-c", "head -c 1000000 /dev/zero >&2; echo last >&2"], cwd=tmp_path)
    assert len(done.stderr) == 64 * 1024
    assert done.stderr.endswith(b"last\n")


async def test_a_missing_program_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ChildStartError, match="no program"):
        await run_once(["no-such-program"], cwd=tmp_path)
