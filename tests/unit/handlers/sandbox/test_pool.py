"""The pool with children that crash, hang, use up memory, write, fork and forge replies."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.sandbox import (
    ChildCrashedError,
    ChildMemoryError,
    ChildOutputError,
    ChildStartError,
    ChildTimeoutError,
    JobFailedError,
    SandboxError,
    WorkerPool,
    probe,
)
from tests.unit.handlers.sandbox.children import (
    MIB,
    TARGET,
    becomes,
    exists,
    pid_of,
    pool_of,
    processes_with,
)


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    async with pool_of() as running:
        yield running


async def test_a_warm_child_answers_job_after_job(pool: WorkerPool) -> None:
    first = await pid_of(pool)
    assert [await pool.run(f"echo {n}") for n in range(3)] == ["0", "1", "2"]
    assert await pid_of(pool) == first


@pytest.mark.parametrize(
    ("job", "error"),
    [
        ("abort", ChildCrashedError),
        ("segfault", ChildCrashedError),
        ("allocate", ChildMemoryError),
        ("forge", ChildCrashedError),
        ("flood", ChildOutputError),
    ],
)
async def test_a_failed_child_is_replaced(pool: WorkerPool, job: str, error: type[SandboxError]) -> None:
    pid = await pid_of(pool)
    with pytest.raises(error):
        await pool.run(job)
    assert not exists(pid)
    assert await pool.run("echo well") == "well"


async def test_an_undeclared_error_comes_with_its_trace_and_costs_no_child(pool: WorkerPool) -> None:
    pid = await pid_of(pool)
    with pytest.raises(JobFailedError, match="ValueError: undeclared"):
        await pool.run("fail")
    assert await pid_of(pool) == pid


async def test_a_file_past_the_limit_is_cut_off(pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(ChildOutputError):
        await pool.run(f"write {tmp_path / 'big'}")
    assert (tmp_path / "big").stat().st_size <= 4 * MIB


async def test_printing_does_not_disturb_the_answers(pool: WorkerPool) -> None:
    assert await pool.run("noise") == "quiet"


async def test_a_hanging_child_is_killed_with_all_it_started() -> None:
    marker = f"family-of-{time.monotonic_ns()}"
    async with pool_of(timeout=2.0) as pool:
        with pytest.raises(ChildTimeoutError):
            await pool.run(f"family {marker}")
        if probe().namespaces:
            await becomes(lambda: not processes_with(marker))
        assert await pool.run("echo on") == "on"


async def test_the_cpu_limit_ends_a_busy_loop_before_a_long_deadline() -> None:
    pool = WorkerPool(TARGET, workers=1, memory=512 * MIB, file_bytes=MIB, timeout=60)
    pool._cpu_seconds = 1
    async with pool:
        before = time.monotonic()
        with pytest.raises(ChildCrashedError):
            await pool.run("spin")
        assert time.monotonic() - before < 30


async def test_canceling_a_job_kills_its_child(tmp_path: Path) -> None:
    async with pool_of() as pool:
        pid = await pid_of(pool)
        job = asyncio.ensure_future(pool.run(f"hang {tmp_path / 'started'}"))
        await becomes((tmp_path / "started").exists)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert not exists(pid)
        assert await pool.run("echo on") == "on"


async def test_a_child_that_died_idle_is_replaced_before_the_next_job() -> None:
    async with pool_of() as pool:
        pid = await pid_of(pool)
        os.kill(int(pid), signal.SIGKILL)
        await becomes(lambda: not pool._slots[0]._starting.result().alive)
        assert await pool.run("echo on") == "on"


async def test_a_child_is_replaced_after_its_share_of_jobs() -> None:
    async with pool_of(jobs_per_child=2) as pool:
        pids = [await pid_of(pool) for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


async def test_one_bad_job_does_not_disturb_others() -> None:
    async with pool_of(2, timeout=3.0) as pool:
        jobs = [
            pool.run(job) for job in ("abort", "echo 1", "allocate", "echo 2", "hang ", "echo 3", "segfault", "echo 4")
        ]
        results = await asyncio.gather(*jobs, return_exceptions=True)
    assert [r for r in results if isinstance(r, str)] == ["1", "2", "3", "4"]


async def test_no_child_outlives_the_pool() -> None:
    async with pool_of(2) as pool:
        pids = {await pid_of(pool) for _ in range(4)}
        pids |= set(await asyncio.gather(pid_of(pool), pid_of(pool)))
    assert not [pid for pid in pids if exists(pid)]


async def test_a_target_that_does_not_exist_is_an_error_at_the_start() -> None:
    broken = WorkerPool("handlers.absent:build", workers=1, memory=256 * MIB, file_bytes=MIB, timeout=1)
    with pytest.raises(ChildStartError, match="absent"):
        async with broken:
            raise AssertionError
