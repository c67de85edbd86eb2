"""A file to send: its content is the announced one, or reading fails."""

import io
import os
import stat
from pathlib import Path
from typing import override


class SourceChangedError(OSError):
    """The file has changed since its size was announced."""


class SourceFile(io.FileIO):
    """A regular file, opened once; reading raises SourceChangedError when it changed since.

    A request announces its length first. Without this check the receiver of a file that shrank waits for the rest, and
    the receiver of a file that grew gets only a part.
    """

    def __init__(self, path: Path) -> None:
        """Open the file. Raises OSError if it cannot be read, or is a pipe, which might never end."""
        # If a pipe has replaced the file, opening it without O_NONBLOCK would wait for a writer.
        super().__init__(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        self.error: OSError | None = None
        """The error of a read, kept because HTTP clients wrap it in their own."""
        self._opened = os.fstat(self.fileno())
        if not stat.S_ISREG(self._opened.st_mode):
            self.close()
            raise OSError("it is no longer a regular file")

    @property
    def size(self) -> int:
        return self._opened.st_size

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        try:
            data = super().read(-1 if size is None else size)
            self._require_unchanged()
        except OSError as error:
            self.error = error
            raise
        return data or b""

    def _require_unchanged(self) -> None:
        was, now = self._opened, os.fstat(self.fileno())
        # A file in /proc reports a size of 0 and still has content.
        if (now.st_size, now.st_mtime_ns) != (was.st_size, was.st_mtime_ns) or self.tell() > was.st_size:
            raise SourceChangedError(
                f"it changed while it was sent: {was.st_size} bytes at first, then {max(now.st_size, self.tell())}"
            )
