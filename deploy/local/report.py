"""The output of the command line: a progress line; at the end a table of results, and what there is to say of them."""

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
    """One line on a terminal, rewritten on each change; nothing without a terminal."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._status: dict[Path, str] = {}

    def __call__(self, path: Path, status: str, percent: int) -> None:
        """Show the progress of one file."""
        self._status[path] = status
        counts = ", ".join(f"{count} {name}" for name, count in sorted(Counter(self._status.values()).items()))
        self._show(f"{self._total} files: {counts} · {printable(path.name)} {status} {percent} %"[:200])

    def clear(self) -> None:
        """Clear the line before anything else is printed."""
        self._show("")

    def _show(self, line: str) -> None:
        if not self._shown:
            return
        with contextlib.suppress(OSError):  # a closed terminal must not fail the files
            self._stream.write(f"\r\x1b[2K{line}")
            self._stream.flush()


def table(results: Sequence[FileResult]) -> str:
    """Return a table of the results, a line each, and below it the reasons and notes in words."""
    rows = [COLUMNS]
    for result in results:
        size = f"{result.width}x{result.height}" if result.width and result.height else ""
        renditions = " ".join(rendition.name for rendition in result.renditions)
        asset = (result.asset_type or "", result.status, result.code or "")
        rows.append((printable(result.file), *asset, size, f"{result.seconds:.1f}", renditions))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for result in results:
        told = [result.detail, *(note.detail for note in result.notes)]
        lines += [f"{printable(result.file)}: {printable(text)}" for text in told if text]
    return "\n".join(lines)
