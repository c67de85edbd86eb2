"""The stack in unusual environments: foreign folders, odd and long paths, users without a name."""

import asyncio
import contextlib
import os
import stat
import sys
from pathlib import Path

import pytest
from PIL import Image

from deploy.local import clamav, process
from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Address
from tests.conftest import embedded_stack
from tests.integration.stack.serving import COMMAND, ROOT, START_DEADLINE, environment

ODD_NAME = "C# a,b 100%d ?ä😀'\"&$x;"
AS_NAMELESS_USER = ("unshare", "--user", "--map-user=12345", "--map-group=12345", "--")


async def run(*command: str, **variables: str) -> tuple[int, str]:
    """Run a command; return its exit status and its output."""
    running = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=variables, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(START_DEADLINE):
            output, _ = await running.communicate()
            return await running.wait(), output.decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, modification time and bytes of `folder` and of each file in it."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.stat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


@pytest.fixture
def foreign_folder(tmp_path: Path) -> Path:
    """A folder of somebody else, with names like ours in it."""
    folder = tmp_path / "project"
    for name in ("postgres/data/base", "emulator/rom", "mediaconvert/jobs", "logs/today.log", "tmp/api/cache", "lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious")
    return folder


@pytest.mark.parametrize(
    ("command", "status"), [("serve", 2), ("process", 2), ("token", 1), ("rehearse", 2), ("stop", 1)]
)
async def test_a_foreign_folder_is_refused_by_name_and_unchanged(
    foreign_folder: Path, command: str, status: int
) -> None:
    before = contents(foreign_folder)
    arguments = [str(foreign_folder / "tmp/api/cache")] if command == "process" else []
    code, output = await run(*COMMAND, command, *arguments, **environment(foreign_folder))
    assert code == status
    assert str(foreign_folder) in output
    assert "Traceback" not in output
    assert contents(foreign_folder) == before


async def test_everything_works_in_a_path_with_odd_characters(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("odd") / ODD_NAME
    files = [folder / name for name in ("photo.png", "page.pdf")]
    async with embedded_stack(folder / "s") as up:
        Image.new("RGB", (64, 48), "red").save(files[0])
        Image.new("RGB", (64, 48), "red").save(files[1])
        running = up.parts.state.running()
        assert running
        order = process.ProcessRequest(files, out=folder / "out")
        results = await process.process(order, running, up.parts.state.secrets().jwt_secret, lambda *_: None)
    assert [result.status for result in results] == ["ready", "ready"], results


async def test_clamd_runs_in_a_path_too_long_for_a_socket(tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = tmp_path_factory.mktemp("long")
    folder = parent / ("ä" * (99 - len(f"{parent}//clamd.sock")))  # the kernel's limit is 107 bytes
    folder.mkdir()
    with clamav.prepare(folder, clamav.write_test_signatures(folder / "signatures")) as prepared:
        started = await prepared.launch(parent)
        try:
            await Clamd(Address.parse(prepared.address)).verify()
        finally:
            await started.stop()
    assert not prepared.socket.parent.exists()


START_POSTGRES = """
import asyncio, sys
from pathlib import Path
from deploy.local import postgres
from deploy.local.child import PartError
from deploy.local.ports import free_port

async def main():
    folder = Path(sys.argv[1])
    if sys.argv[2:] == ["without namespaces"]:
        postgres.AS_NOBODY = ("false",)
    try:
        server = await postgres.start(folder / "postgres", free_port(), folder, "secret")
    except PartError as error:
        sys.exit(str(error))
    await server.child.stop()
    print("ended with", server.child.returncode)

asyncio.run(main())
"""


async def test_a_user_without_a_name_has_a_database(tmp_path: Path) -> None:
    code, output = await run(*AS_NAMELESS_USER, sys.executable, "-c", START_POSTGRES, str(tmp_path), **os.environ)
    assert (code, output) == (0, "ended with 0\n")


async def test_a_user_without_a_name_is_told_what_to_do(tmp_path: Path) -> None:
    arguments = ["-c", START_POSTGRES, str(tmp_path), "without namespaces"]
    code, output = await run(*AS_NAMELESS_USER, sys.executable, *arguments, **os.environ)
    assert code == 1
    assert "12345 has no entry in /etc/passwd" in output
    assert "docker run" in output
