"""A clamd on a private unix socket, with the best signatures that this machine has."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from deploy.local import child
from deploy.local.child import Child, PartError, Program
from handlers.process_tempdir import process_tempdir
from handlers.scan.clamd.instream import Address
from media.settings import Settings

SCAN_LIMIT = int(Settings.model_fields["scan_max_bytes"].default)
"""Bytes of the largest file to scan. clamd's own cap is near 2 GiB."""

SCANS_AT_ONCE = int(Settings.model_fields["scan_concurrency"].default)

OFFICIAL_FOLDER = Path("/var/lib/clamav")
LOAD_DEADLINE = 180.0
"""Seconds for clamd to load its signatures. The official ones take half a minute on a slow machine."""

SOCKET_PATH_LIMIT = 107
"""Bytes of a socket's path: the kernel's field has 108, including the terminating zero."""

SOCKET_NAME = "clamd.sock"
PRIVATE_PREFIX = "media-clamd-"

EICAR = (
    "58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d"
    "5354414e444152442d414e544956495255532d544553542d46494c452124482b482a"
)
"""The EICAR test string in hexadecimal: in plain text a virus scanner would remove this file."""

TEST_SIGNATURES = {
    "eicar.ndb": f"Eicar-Test-Signature:0:*:{EICAR}\n",
    # ClamAV's own harmless test file, also inside the archives and documents of the package clamav-testfiles.
    "clam.hdb": "aa15bcf478d165efd2065190eb473bcb:544:ClamAV-Test-File\n",
}


@dataclass(frozen=True, slots=True)
class Signatures:
    """The signatures that clamd loads. `kind` is `given`, `official` or `test`."""

    kind: str
    folder: Path

    @property
    def description(self) -> str:
        text = {
            "given": "the signatures that MEDIA_LOCAL_CLAMAV_DATABASE names",
            "official": "ClamAV's official signatures",
            "test": "a small test database that finds EICAR and ClamAV's test files, nothing else",
        }
        return f"{text[self.kind]} ({self.folder})"


@dataclass(frozen=True, slots=True)
class PreparedClamd:
    """A configured clamd, which can be started repeatedly on the same socket."""

    program: Program
    signatures: Signatures
    socket: Path

    @property
    def address(self) -> str:
        """The value for MEDIA_CLAMD."""
        return str(Address(path=str(self.socket)))

    async def launch(self, logs: Path) -> Child:
        """Start it and wait until it answers. Raises PartError."""
        self.socket.unlink(missing_ok=True)
        started = await child.start(self.program, logs)
        try:
            await started.until_ready(lambda: _answers(self.socket), LOAD_DEADLINE)
        except BaseException:
            await started.stop()
            raise
        return started


def find_signatures(folder: Path, environ: Mapping[str, str]) -> Signatures:
    """Choose given signatures, else official ones, else ours. Raises PartError when the given folder has none."""
    if named := environ.get("MEDIA_LOCAL_CLAMAV_DATABASE"):
        given = Path(named).absolute()
        if not given.is_dir() or not any(given.iterdir()):
            raise PartError(f"MEDIA_LOCAL_CLAMAV_DATABASE={named}: not a folder with signatures")
        return Signatures("given", given)
    if any(OFFICIAL_FOLDER.glob("main.c[lv]d")):
        return Signatures("official", OFFICIAL_FOLDER)
    return write_test_signatures(folder / "signatures")


def write_test_signatures(folder: Path) -> Signatures:
    """Write a database of two lines, for tests and for machines without the official one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in TEST_SIGNATURES.items():
        (folder / name).write_text(content)
    return Signatures("test", folder)


@contextlib.contextmanager
def prepare(folder: Path, signatures: Signatures) -> Iterator[PreparedClamd]:
    """Write clamd's configuration to `folder`; remove its socket after the block. Raises PartError without clamd."""
    program = shutil.which("clamd") or shutil.which("clamd", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise PartError("clamd is not installed: apt-get install --no-install-recommends clamav-daemon")
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    configuration = folder / "clamd.conf"
    clamd = Program("clamd", [program, f"--config-file={configuration}"], child.base_environment(), folder)
    with _socket_folder(folder) as place:
        socket = place / SOCKET_NAME
        configuration.write_bytes(os.fsencode(_configuration(signatures.folder, socket, folder / "tmp")))
        try:
            yield PreparedClamd(clamd, signatures, socket)
        finally:
            socket.unlink(missing_ok=True)


@contextlib.contextmanager
def _socket_folder(folder: Path) -> Iterator[Path]:
    """Yield `folder`, or a private temporary one if its path is too long for a socket."""
    if _fits(folder):
        yield folder
        return
    temporary = Path(gettempdir())
    is_short = _fits(temporary / f"{PRIVATE_PREFIX}12345678")
    with process_tempdir(PRIVATE_PREFIX, temporary if is_short else Path("/tmp")) as private:  # noqa: S108 - it is private
        yield private


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_LIMIT


async def _answers(socket: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        writer.write(b"zPING\0")
        return await reader.read(16) == b"PONG\0"
    finally:
        writer.close()


def _configuration(signatures: Path, socket: Path, temporary: Path) -> str:
    """Return clamd's configuration. Its limits follow our settings; content that it cannot scan is never `OK`."""
    options = {
        "Foreground": "yes",
        "DatabaseDirectory": signatures,
        "LocalSocket": socket,
        "LocalSocketMode": "600",
        "FixStaleSocket": "yes",
        "TemporaryDirectory": temporary,
        "MaxThreads": SCANS_AT_ONCE,
        "MaxQueue": 200,
        "StreamMaxLength": SCAN_LIMIT,
        "MaxFileSize": SCAN_LIMIT,
        "MaxScanSize": SCAN_LIMIT,
        "MaxScanTime": 120_000,
        "ReadTimeout": 120,
        "AlertExceedsMax": "yes",
        "AlertEncryptedArchive": "yes",
        "ConcurrentDatabaseReload": "no",
    }
    return "".join(f"{name} {value}\n" for name, value in options.items())
