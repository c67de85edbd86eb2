"""Read the boxes of an ISO base media file (ISO/IEC 14496-12), as AVIF and HEIC are."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from handlers.image.containers.spliced import Part

_HEAD, _LONG_HEAD = 8, 16
"""Bytes of a box before its content: size and name, and a size of 64 bits where the first size is 1."""
_TO_THE_END, _LONG = 0, 1
"""Values of the size field with a special meaning."""
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
"""Bytes of a box's own fields before its child boxes. `iinf` has two more from version 1 on."""
_METADATA = frozenset({b"Exif", b"mime"})
"""Types of items that hold no pixels. `mime` is XMP."""
_UNKNOWN = b"skip"


@dataclass(frozen=True, slots=True)
class Box:
    """One box: its name and the offsets of its content in the file. A box ends with its parent at the latest."""

    name: bytes
    start: int
    end: int

    @property
    def length(self) -> int:
        """Return the bytes of its content."""
        return self.end - self.start


def boxes(file: BinaryIO) -> Iterator[Box]:
    """Yield every box in the order of the file, a parent before its children.

    The file is positioned at the box's content, and may be read. After a malformed box the rest of its parent is
    skipped.
    """
    at, ends = 0, [file.seek(0, os.SEEK_END)]
    while ends:
        box = _read_head(file, at, ends[-1])
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


def item_types(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the type of each item and its offset in the file."""
    for box in boxes(file):
        if box.name == b"infe":
            head = file.read(min(box.length, 14))
            at = 8 if head[:1] == b"\2" else 10  # an id has two bytes, and four from version 3 on
            yield head[at : at + 4], box.start + at


def pixel_parts(file: BinaryIO) -> list[Part]:
    """Return the parts of an AVIF or HEIC, with its metadata under a type that no decoder knows.

    Properties of the picture tell how it is turned; Exif and XMP have no say (ISO/IEC 23008-12, 6.5.10).
    """
    hidden = [at for name, at in item_types(file) if name in _METADATA]
    parts: list[Part] = []
    done = 0
    for at in hidden:
        parts += [(done, at - done), _UNKNOWN]
        done = at + len(_UNKNOWN)
    return [*parts, (done, file.seek(0, os.SEEK_END) - done)]


def _read_head(file: BinaryIO, at: int, end: int) -> Box | None:
    """Read the head of the box at offset `at`; None when no whole head fits before `end`."""
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
