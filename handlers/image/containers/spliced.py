"""A file made of parts of another one, without a copy: what a decoder may see of a picture."""

import bisect
import io
import itertools
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO, cast, override

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

type Part = tuple[int, int] | bytes
"""An offset and a length in the file, or bytes that stand there instead."""


class SplicedFile(io.RawIOBase):
    """Reads parts of `file` one after the other. Owns the file: closing closes it."""

    def __init__(self, file: BinaryIO, parts: Iterable[Part]) -> None:
        super().__init__()
        self._file = cast("io.BufferedIOBase", file)  # BinaryIO lacks readinto
        joined: list[bytes | range] = []
        for part in parts:
            last = joined[-1] if joined else b""
            if isinstance(part, bytes):
                joined.append(part)
            elif isinstance(last, range) and last.stop == part[0]:  # a PNG may have a hundred thousand chunks
                joined[-1] = range(last.start, sum(part))
            else:
                joined.append(range(part[0], sum(part)))
        self._parts = tuple(joined)
        self._ends = tuple(itertools.accumulate(map(len, self._parts)))
        self._at = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1] if self._ends else 0}[whence]
        self._at = max(0, start + offset)
        return self._at

    @override
    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill the buffer as far as the part at the position reaches. Returns 0 at the end."""
        index = bisect.bisect_right(self._ends, self._at)
        if index == len(self._ends):
            return 0
        target, part = memoryview(buffer), self._parts[index]
        skipped = self._at - self._ends[index] + len(part)
        length = min(len(target), len(part) - skipped)
        if isinstance(part, bytes):
            target[:length] = part[skipped : skipped + length]
        else:
            self._file.seek(part[skipped])
            length = self._file.readinto(target[:length])
        self._at += length
        return length

    @override
    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
