"""A private folder for each process to work in; what processes that were killed left behind goes at the next start."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp

import structlog

log = structlog.get_logger(__name__)

MARKER = ".docfliq-media"
"""A file in each folder of ours: somebody else's may have a name like ours."""

_LOOK = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def process_tempdir(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new, empty, private folder below `parent` (else where the platform keeps such), gone afterwards. Blocks.

    First it removes those of the same `prefix` and user that hold our marker and whose process is gone. The owner
    holds a lock on the folder itself, which the kernel takes back whatever ends the process; no child inherits it.
    Raises OSError.
    """
    where = parent or Path(gettempdir())
    for marker in where.glob(f"{prefix}*/{MARKER}"):
        _remove_left(marker.parent)
    folder, lock = _new(prefix, where)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what cannot go now does at the next start
        os.close(lock)


def _new(prefix: str, where: Path) -> tuple[Path, int]:
    """A folder, and the descriptor that holds its lock. It is marked last: before, nobody would take it for left."""
    folder = Path(mkdtemp(prefix=prefix, dir=where))
    lock = os.open(folder, _LOOK)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / MARKER).touch()
    return folder, lock


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_left(folder: Path) -> None:
    """Removes a folder of ours that nobody holds; one that cannot be removed is logged, and stays."""
    try:
        lock = os.open(folder, _LOOK)
    except OSError as error:  # gone meanwhile, somebody else's, no folder
        log.debug("scratch.not_ours", folder=str(folder), error=errno.errorcode.get(error.errno or 0))
        return
    try:
        if os.fstat(lock).st_uid == os.geteuid() and _locked(lock):
            shutil.rmtree(folder)
            log.info("scratch.left_removed", folder=str(folder))
    except OSError as error:
        log.warning("scratch.left_stays", folder=str(folder), error=str(error))
    finally:
        os.close(lock)
