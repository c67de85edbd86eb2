"""What the command line shows of the files on their way: a progress line, and a table at the end."""

import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from deploy.local.announcement import printable
from deploy.local.process import FileResult

COLUMNS = ("file", "type", "status", "code", "size", "seconds", "renditions")


class Progress:
    """One line on a terminal, written over and over; nothing where there is no terminal."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._status: dict[Path, str] = {}

    def __call__(self, path: Path, status: str, percent: int) -> None:
        """What the journey of one file tells."""
        self._status[path] = status
        counts = ", ".join(f"{count} {name}" for name, count in sorted(Counter(self._status.values()).items()))
        self._show(f"{self._total} files: {counts} · {printable(path.name)} {status} {percent} %"[:200])

    def clear(self) -> None:
        """Take the line away, before anything else is printed."""
        self._show("")

    def _show(self, line: str) -> None:
        if not self._shown:
            return
        with contextlib.suppress(OSError):  # a terminal that is gone is no error of the files
            self._stream.write(f"\r\x1b[2K{line}")
            self._stream.flush()


def table(results: Sequence[FileResult]) -> str:
    """The results for people, a line each."""
    rows = [COLUMNS, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _row(result: FileResult) -> tuple[str, ...]:
    return (
        printable(result.file),
        result.asset_type or "",
        result.status,
        result.code or "",
        f"{result.width}x{result.height}" if result.width and result.height else "",
        f"{result.seconds:.1f}",
        " ".join(rendition.name for rendition in result.renditions),
    )
