"""A private work folder for each process. The next start removes the folders that killed processes left."""

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
"""The file that marks each of our folders: other programs' folders may have similar names."""

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def process_tempdir(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a new, empty, private folder below `parent`, else below the system's, and remove it afterwards. Blocks.

    First remove the folders of the same `prefix` and user that hold our marker and whose process has ended. The owner
    holds a lock on the folder itself. The kernel releases it however the process ends, and no child inherits it.
    Raises OSError.
    """
    where = parent or Path(gettempdir())
    for marker in where.glob(f"{prefix}*/{MARKER}"):
        _remove_abandoned(marker.parent)
    folder = Path(mkdtemp(prefix=prefix, dir=where))
    lock = os.open(folder, _OPEN_FOLDER)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # The marker comes last: without it no other process takes the folder for an abandoned one.
    (folder / MARKER).touch()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the next start removes what stays
        os.close(lock)


def _remove_abandoned(folder: Path) -> None:
    """Remove a folder of ours that no process holds. One that cannot be removed stays and is logged."""
    try:
        lock = os.open(folder, _OPEN_FOLDER)
    except OSError as error:  # gone meanwhile, another user's, no folder
        log.debug("scratch.not_ours", folder=str(folder), error=errno.errorcode.get(error.errno or 0))
        return
    try:
        if os.fstat(lock).st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
            log.info("scratch.left_removed", folder=str(folder))
    except BlockingIOError:
        pass  # its process lives
    except OSError as error:
        log.warning("scratch.left_stays", folder=str(folder), error=str(error))
    finally:
        os.close(lock)
