"""The isolation of a child from the rest of the machine."""

import asyncio
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handlers.sandbox import ChildLimits, ChildMemoryError, ChildStartError, isolation, probe
from tests.unit.handlers.sandbox.children import TIMEOUT, becomes, exists, pool_of, run_program


async def test_no_child_outlives_a_killed_daemon() -> None:
    if not probe().die_with_parent:
        pytest.skip("this platform has no setpriv")
    script = (
        "import asyncio\nfrom tests.unit.handlers.sandbox.children import pid_of, pool_of\n"
        "async def main():\n async with pool_of() as pool:\n"
        "  print(await pid_of(pool), flush=True)\n  await pool.run('hang ')\n"
        "asyncio.run(main())"
    )
    root = Path(__file__).parents[4]
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=root, stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout
    async with asyncio.timeout(TIMEOUT):
        pid = ""
        while not pid.isdigit():  # the daemon's log comes first
            pid = (await daemon.stdout.readline()).decode().strip()
    assert exists(pid)
    daemon.kill()
    await daemon.wait()
    await becomes(lambda: not exists(pid))


async def test_children_of_an_ordinary_user_are_isolated_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flags = isolation._AS_USER
    if not probe().namespaces:
        pytest.skip("this platform gives no namespaces")
    monkeypatch.setattr("handlers.sandbox.process.probe", lambda: replace(probe(), namespaces=flags))
    assert (await run_program(["cat", "/proc/self/net/dev"], cwd=tmp_path)).stdout.count(b":") == 1
    async with pool_of() as pool:
        with pytest.raises(ChildMemoryError):
            await pool.run("allocate")
        assert await pool.run("echo on") == "on"


async def test_children_see_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MEDIA_JWT_SECRET", "secret")
    async with pool_of() as pool:
        names = (await pool.run("environment")).split("\n")
    assert not [name for name in names if name.startswith(("AWS_", "MEDIA_", "PYTHON"))]
    done = await run_program(["env"], cwd=tmp_path)
    assert b"secret" not in done.stdout


_READ_ALL = """
import glob
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        print(open(path, "rb").read())
    except OSError:
        pass
"""


async def test_children_find_no_credentials_in_proc(tmp_path: Path) -> None:
    """Run the daemon as a process of its own: its first environment stands in its `/proc`."""
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom handlers.sandbox.hardening import set_undumpable\n"
        "from tests.unit.handlers.sandbox.children import run_program\nassert set_undumpable()\n"
        "async def main():\n"
        "  done = await run_program([sys.executable, '-c', sys.argv[1]], cwd=Path(sys.argv[2]))\n"
        "  assert b'LANG=' in done.stdout, done\n"
        "  sys.exit(b'very-secret' in done.stdout)\n"
        "asyncio.run(main())"
    )
    if not probe().own_proc and os.geteuid() == 0:
        pytest.skip("this platform gives no /proc of one's own, and root reads everybody's")
    daemon = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        _READ_ALL,
        str(tmp_path),
        cwd=Path(__file__).parents[4],
        env={**os.environ, "AWS_SECRET_ACCESS_KEY": "very-secret"},
    )
    async with asyncio.timeout(TIMEOUT):
        assert await daemon.wait() == 0


async def test_pooled_children_have_no_network() -> None:
    if not probe().namespaces:
        pytest.skip("this platform lets no process leave the network")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1")
    async with server, pool_of() as pool:
        assert (await pool.run(f"connect {server.sockets[0].getsockname()[1]}")).startswith("refused")


async def test_a_program_has_the_network_only_if_asked(tmp_path: Path) -> None:
    if not probe().namespaces:
        pytest.skip("this platform lets no process leave the network")
    interfaces = ["cat", "/proc/self/net/dev"]
    ours = len(socket.if_nameindex())
    assert (await run_program(interfaces, cwd=tmp_path)).stdout.count(b":") == 1
    assert (await run_program(interfaces, cwd=tmp_path, network=True)).stdout.count(b":") == ours


@pytest.mark.parametrize("lacking", ["die_with_parent", "namespaces"])
async def test_a_missing_tool_costs_only_its_own_isolation(
    lacking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing: dict[str, Any] = {lacking: ()}
    poorer = replace(probe(), **missing)
    monkeypatch.setattr("handlers.sandbox.process.probe", lambda: poorer)
    done = await run_program(["sh", "-c", "ulimit -v; ulimit -f; ulimit -c"], cwd=tmp_path)
    memory, _, core = done.stdout.split()
    assert (int(memory), int(core)) == (512 * 1024, 0)
    async with pool_of() as pool:
        with pytest.raises(ChildMemoryError):
            await pool.run("allocate")
        assert await pool.run("echo on") == "on"


def test_missing_tools_leave_empty_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_works", lambda prefix: prefix[0] == "prlimit")
    found = isolation.probe.__wrapped__()
    assert (found.die_with_parent, found.namespaces, found.own_proc) == ((), (), False)
    assert found.wrap(["x"], ChildLimits(1, 2, 3), network=False)[0] == "prlimit"


def test_no_child_runs_without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_works", lambda prefix: prefix[0] != "prlimit")
    with pytest.raises(ChildStartError, match="prlimit"):
        isolation.probe.__wrapped__()
