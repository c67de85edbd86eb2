"""Read the boxes of an ISO base media file (ISO/IEC 14496-12), as AVIF and HEIC are."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_HEAD, _LONG_HEAD = 8, 16
"""Bytes of a box before its content: size and name; where the size is 1, a size of 64 bits, too."""
_TO_THE_END, _LONG = 0, 1
"""Sizes that are none."""
_PARENTS = {
    b"meta": 4,
    b"iinf": 6,
    b"iprp": 0,
    b"ipco": 0,
    b"moov": 0,
    b"trak": 0,
    b"mdia": 0,
    b"minf": 0,
    b"stbl": 0,
    b"stsd": 8,
    b"av01": 78,
}
"""Bytes of a box's own before the boxes that it holds; `iinf` has two more from its version 1 on."""


@dataclass(frozen=True, slots=True)
class Box:
    """One box: its name, where its content begins in the file, and where it ends, at the latest with its parent."""

    name: bytes
    start: int
    end: int

    @property
    def length(self) -> int:
        """Bytes of its content."""
        return self.end - self.start


def boxes(file: BinaryIO) -> Iterator[Box]:
    """Yield every box in the order of the file, one that holds others before these.

    The file stands at the box's content then, and may be read. Where a box makes no sense, what is left of its parent
    is passed over.
    """
    at, ends = 0, [file.seek(0, os.SEEK_END)]
    while ends:
        box = _read(file, at, ends[-1])
        if box is None:
            at = ends.pop()
            continue
        yield box
        if box.name not in _PARENTS:
            at = box.end
            continue
        at = box.start + _PARENTS[box.name]
        if box.name == b"iinf":
            file.seek(box.start)
            at += 2 * (file.read(1) != b"\0")
        ends.append(box.end)


def _read(file: BinaryIO, at: int, end: int) -> Box | None:
    """Read the head of the box that begins at `at`, if a whole one does before `end`."""
    file.seek(at)
    head = file.read(min(_LONG_HEAD, max(0, end - at)))
    if len(head) < _HEAD:
        return None
    size, own = int.from_bytes(head[:4]), _HEAD
    if size == _LONG:
        size, own = int.from_bytes(head[8:]), _LONG_HEAD
    elif size == _TO_THE_END:
        size = end - at
    if size < own or len(head) < own:
        return None
    file.seek(at + own)
    return Box(head[4:8], at + own, min(at + size, end))
