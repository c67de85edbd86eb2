"""A child's root: which of the machine's files it sees; and how many processes it may have."""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from handlers.sandbox import FileView, isolation, probe, run_limited
from tests.unit.handlers.sandbox.children import MIB, TIMEOUT, pool_of, run_program

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def _needs_rootfs() -> None:
    if not probe().namespaces:
        pytest.skip("this platform lets no process have files of its own")


async def test_a_pooled_child_sees_its_folder_and_no_other(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for folder in (mine, theirs):
        folder.mkdir()
        (folder / "source").touch()
    async with pool_of(folders=(mine,)) as pool:
        assert await pool.run(f"list {mine}") == "source"
        assert await pool.run(f"list {theirs}") == "nothing"
        assert await pool.run(f"list {tmp_path}") == "mine"
        assert await pool.run("list /") == await pool.run("list /.."), "nothing lies beneath"
        assert not {"home", "run", "var", "sys"} & set((await pool.run("list /")).split())


async def test_a_child_sees_only_the_code_of_the_project(tmp_path: Path) -> None:
    async with pool_of(folders=(tmp_path,)) as pool:
        assert not set((await pool.run(f"list {ROOT}")).split()) - {"handlers", "media", "tests", ".venv"}


async def test_sockets_are_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "clamd.sock"
    server = await asyncio.start_unix_server(lambda _, writer: writer.close(), path)
    async with server, pool_of() as open_pool, pool_of(folders=(tmp_path / "folder",)) as pool:
        assert await open_pool.run(f"connect-unix {path}") == "connected"
        assert (await pool.run(f"connect-unix {path}")).startswith("refused")


async def test_a_program_sees_its_folder_and_the_files_of_its_view(tmp_path: Path) -> None:
    folder, source, other = tmp_path / "folder", tmp_path / "source", tmp_path / "other"
    folder.mkdir()
    source.write_text("shown", encoding="utf-8")
    other.write_text("hidden", encoding="utf-8")
    script = f"cat {source}; cat {other}; echo > {source}; echo new > made; pwd; echo > /usr/made"
    done = await run_limited(
        ["sh", "-c", script],
        timeout=TIMEOUT,
        memory=512 * MIB,
        cpu_seconds=5,
        file_bytes=MIB,
        cwd=folder,
        view=FileView(reads=(source,), writes=(folder,)),
    )
    assert done.stdout.decode() == f"shown{folder}\n"
    assert (folder / "made").read_text(encoding="utf-8") == "new\n"
    assert source.read_text(encoding="utf-8") == "shown"
    assert b"Read-only" in done.stderr


async def test_a_program_outside_the_system_folders_runs(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/own"
    program.write_text("#!/bin/sh\necho ran\n", encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "work").mkdir()
    assert (await run_program([str(program)], cwd=tmp_path / "work")).stdout == b"ran\n"


async def test_a_child_can_write_little_beside_its_folder(tmp_path: Path) -> None:
    script = "for n in 1 2 3 4 5 6 7 8; do head -c 900000 /dev/zero > /tmp/$n || exit 9; done"
    assert (await run_program(["sh", "-c", script], cwd=tmp_path)).returncode == 9


async def test_children_work_without_namespaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("handlers.sandbox.process.probe", lambda: replace(probe(), namespaces=()))
    (tmp_path / "folder").mkdir()
    async with pool_of(folders=(tmp_path / "folder",)) as pool:
        assert await pool.run(f"list {tmp_path}") == "folder"


async def test_children_of_an_ordinary_user_have_a_root_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags = isolation._AS_USER
    monkeypatch.setattr("handlers.sandbox.process.probe", lambda: replace(probe(), namespaces=flags))
    async with pool_of(folders=(tmp_path,)) as pool:
        assert await pool.run(f"list {ROOT / 'docs'}") == "nothing"


async def test_a_child_can_start_few_processes(tmp_path: Path) -> None:
    if os.geteuid() == 0 or "--unshare-user" not in probe().namespaces:
        pytest.skip("the kernel exempts root, and counts an ordinary user's own processes in a user namespace only")
    async with pool_of(folders=(tmp_path,)) as pool:
        assert int(await pool.run("fork")) < 64


@pytest.mark.parametrize(
    ("user", "kernel", "counts_own"),
    [(True, "5.14.0-1-amd64", True), (True, "6.1.0", True), (True, "5.13.19", False), (False, "6.1.0", False)],
)
def test_process_limit_is_small_where_the_kernel_counts_per_namespace(
    user: bool, kernel: str, counts_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.release", lambda: kernel)
    isolated = replace(probe(), namespaces=isolation._AS_USER if user else ())
    limits = isolation.ChildLimits(MIB, 1, MIB, processes=64)
    flags = isolated.wrap([sys.executable], limits, network=False)
    assert ("--nproc=64:64" in flags) == counts_own
