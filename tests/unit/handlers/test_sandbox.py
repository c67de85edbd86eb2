"""The pool and the one-shot runner against children that crash, hang, eat, write, fork and lie."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from handlers.sandbox import (
    ChildCrashedError,
    ChildLimits,
    ChildMemoryError,
    ChildOutputError,
    ChildStartError,
    ChildTimeoutError,
    CompletedChild,
    JobFailedError,
    MemoryBudget,
    SandboxError,
    WorkerPool,
    isolation,
    probe,
    run_limited,
)

MIB = 1024 * 1024
PATIENCE = 10.0
TARGET = "tests.unit.handlers.misbehaving:build"


def pool_of(workers: int = 1, *, timeout: float = PATIENCE, jobs_per_child: int = 200) -> WorkerPool:
    return WorkerPool(
        TARGET,
        workers=workers,
        memory=512 * MIB,
        file_bytes=4 * MIB,
        timeout=timeout,
        jobs_per_child=jobs_per_child,
    )


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    async with pool_of() as running:
        yield running


def exists(pid: str) -> bool:
    try:
        state = Path("/proc", pid, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}  # dead, and only waiting to be reaped


def processes_that_say(marker: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(folder.name)
    return found


async def becomes(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - another process's end is not an event of this loop
            await asyncio.sleep(0.01)


async def test_a_warm_child_answers_job_after_job(pool: WorkerPool) -> None:
    first = await pool.run("pid")
    assert [await pool.run(f"echo {n}") for n in range(3)] == ["0", "1", "2"]
    assert await pool.run("pid") == first


@pytest.mark.parametrize(
    ("job", "error"),
    [
        ("abort", ChildCrashedError),
        ("segfault", ChildCrashedError),
        ("devour", ChildMemoryError),
        ("forge", ChildCrashedError),
        ("flood", ChildOutputError),
    ],
)
async def test_a_failed_child_is_replaced(pool: WorkerPool, job: str, error: type[SandboxError]) -> None:
    pid = await pool.run("pid")
    with pytest.raises(error):
        await pool.run(job)
    assert not exists(pid)
    assert await pool.run("echo well") == "well"


async def test_an_undeclared_error_comes_with_its_trace_and_costs_no_child(pool: WorkerPool) -> None:
    pid = await pool.run("pid")
    with pytest.raises(JobFailedError, match="ValueError: undeclared"):
        await pool.run("fail")
    assert await pool.run("pid") == pid


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
            await becomes(lambda: not processes_that_say(marker))
        assert await pool.run("echo on") == "on"


async def test_a_busy_loop_meets_its_cpu_limit_before_a_long_deadline() -> None:
    pool = WorkerPool(TARGET, workers=1, memory=512 * MIB, file_bytes=MIB, timeout=60)
    pool._cpu_seconds = 1
    async with pool:
        before = time.monotonic()
        with pytest.raises(ChildCrashedError):
            await pool.run("spin")
        assert time.monotonic() - before < 30


async def test_cancelling_a_job_kills_its_child(tmp_path: Path) -> None:
    async with pool_of() as pool:
        pid = await pool.run("pid")
        job = asyncio.ensure_future(pool.run(f"hang {tmp_path / 'started'}"))
        await becomes((tmp_path / "started").exists)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert not exists(pid)
        assert await pool.run("echo on") == "on"


async def test_a_child_that_dies_idle_is_not_noticed_by_the_next_job() -> None:
    async with pool_of() as pool:
        pid = await pool.run("pid")
        os.kill(int(pid), signal.SIGKILL)
        await becomes(lambda: not pool._slots[0]._coming.result().alive)
        assert await pool.run("echo on") == "on"


async def test_a_child_is_replaced_after_its_share_of_jobs() -> None:
    async with pool_of(jobs_per_child=2) as pool:
        pids = [await pool.run("pid") for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


async def test_one_bad_job_does_not_disturb_its_neighbours() -> None:
    async with pool_of(2, timeout=3.0) as pool:
        jobs = [
            pool.run(job) for job in ("abort", "echo 1", "devour", "echo 2", "hang ", "echo 3", "segfault", "echo 4")
        ]
        results = await asyncio.gather(*jobs, return_exceptions=True)
    assert [r for r in results if isinstance(r, str)] == ["1", "2", "3", "4"]


async def test_no_child_outlives_the_pool() -> None:
    async with pool_of(2) as pool:
        pids = {await pool.run("pid") for _ in range(4)}
        pids |= set(await asyncio.gather(pool.run("pid"), pool.run("pid")))
    assert not [pid for pid in pids if exists(pid)]


async def test_no_child_outlives_a_killed_daemon() -> None:
    if not probe().die_with_parent:
        pytest.skip("this platform has no setpriv")
    script = (
        "import asyncio\nfrom tests.unit.handlers.test_sandbox import pool_of\n"
        "async def main():\n async with pool_of() as pool:\n"
        "  print(await pool.run('pid'), flush=True)\n  await pool.run('hang ')\n"
        "asyncio.run(main())"
    )
    root = Path(__file__).parents[3]
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=root, stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout
    async with asyncio.timeout(PATIENCE):
        pid = ""
        while not pid.isdigit():  # the daemon's log comes first
            pid = (await daemon.stdout.readline()).decode().strip()
    assert exists(pid)
    daemon.kill()
    await daemon.wait()
    await becomes(lambda: not exists(pid))


async def test_an_ordinary_user_gets_the_same_walls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flags = isolation._NAMESPACES[1]
    if not isolation._works((*flags, "--net")):
        pytest.skip("this platform gives ordinary users no namespaces")
    monkeypatch.setattr("handlers.sandbox.process.probe", lambda: replace(probe(), namespaces=flags))
    assert (await run_once(["cat", "/proc/self/net/dev"], cwd=tmp_path)).stdout.count(b":") == 1
    async with pool_of() as pool:
        with pytest.raises(ChildMemoryError):
            await pool.run("devour")
        assert await pool.run("echo on") == "on"


async def test_a_target_that_does_not_exist_is_an_error_at_the_start() -> None:
    broken = WorkerPool("handlers.absent:build", workers=1, memory=256 * MIB, file_bytes=MIB, timeout=1)
    with pytest.raises(ChildStartError, match="absent"):
        async with broken:
            raise AssertionError


async def test_children_see_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MEDIA_JWT_SECRET", "secret")
    async with pool_of() as pool:
        names = (await pool.run("environment")).split("\n")
    assert not [name for name in names if name.startswith(("AWS_", "MEDIA_", "PYTHON"))]
    one_shot = await run_once(["env"], cwd=tmp_path)
    assert b"secret" not in one_shot.stdout


async def test_pooled_children_have_no_network(pool: WorkerPool) -> None:
    if not probe().namespaces:
        pytest.skip("this platform lets no process leave the network")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1")
    async with server:
        assert (await pool.run(f"connect {server.sockets[0].getsockname()[1]}")).startswith("refused")


async def run_once(
    argv: list[str],
    *,
    cwd: Path,
    timeout: float = PATIENCE,  # noqa: ASYNC109 - handed on
    stdin: bytes | None = None,
    network: bool = False,
    stdout_limit: int = MIB,
) -> CompletedChild:
    return await run_limited(
        argv,
        timeout=timeout,
        memory=512 * MIB,
        cpu_seconds=5,
        file_bytes=MIB,
        cwd=cwd,
        stdin=stdin,
        network=network,
        stdout_limit=stdout_limit,
    )


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


async def test_the_network_is_a_matter_of_choice(tmp_path: Path) -> None:
    if not probe().namespaces:
        pytest.skip("this platform lets no process leave the network")
    interfaces = ["cat", "/proc/self/net/dev"]
    ours = len(socket.if_nameindex())
    assert (await run_once(interfaces, cwd=tmp_path)).stdout.count(b":") == 1
    assert (await run_once(interfaces, cwd=tmp_path, network=True)).stdout.count(b":") == ours


@pytest.mark.parametrize("lacking", ["die_with_parent", "namespaces", "limiter"])
async def test_a_missing_tool_costs_its_wall_and_no_other(
    lacking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    launcher = (sys.executable, "-I", "-S", str(Path(isolation.__file__).with_name("launcher.py")))
    walls = {"die_with_parent": (), "namespaces": (), "limiter": launcher}
    poorer = replace(probe(), **{lacking: walls[lacking]})
    monkeypatch.setattr("handlers.sandbox.process.probe", lambda: poorer)
    done = await run_once(["sh", "-c", "ulimit -v; ulimit -f; ulimit -c"], cwd=tmp_path)
    memory, _, core = done.stdout.split()
    assert (int(memory), int(core)) == (512 * 1024, 0)
    async with pool_of() as pool:
        with pytest.raises(ChildMemoryError):
            await pool.run("devour")
        assert await pool.run("echo on") == "on"


def test_a_tool_that_is_not_there_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_works", lambda _: False)
    found = isolation.probe.__wrapped__()
    assert (found.die_with_parent, found.namespaces) == ((), ())
    assert found.wrap(["x"], ChildLimits(1, 2, 3), network=False)[0] == sys.executable


async def test_a_budget_admits_in_order_and_never_more_than_it_has() -> None:
    budget = MemoryBudget(100)
    order: list[str] = []
    first_may_end = asyncio.Event()

    async def use(name: str, amount: int, until: asyncio.Event | None = None) -> None:
        async with budget.reserve(amount):
            assert budget.used <= 100
            order.append(name)
            if until:
                await until.wait()

    first = asyncio.ensure_future(use("first", 60, first_may_end))
    await becomes(lambda: order == ["first"])
    impatient = asyncio.ensure_future(use("impatient", 90))
    rest = [asyncio.ensure_future(use(*job)) for job in (("huge", 5000), ("small", 10))]
    await asyncio.sleep(0)
    impatient.cancel()
    assert order == ["first"]
    first_may_end.set()
    await asyncio.gather(first, *rest)
    assert order == ["first", "huge", "small"]
    assert budget.used == 0
