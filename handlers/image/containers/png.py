"""Read the chunks of a PNG (ISO/IEC 15948), and count the rows that its data hold."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

STEP = 256 * 1024
"""Bytes that are read or unpacked at once."""
_SIGNATURE = 8
_HEAD = 8
"""Bytes of a chunk before its content: the length and the name."""
_CHECKSUM = 4
_HEADER = 16
"""Offset of the content of IHDR, the first chunk."""
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel, by color type."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of Adam7: first column and row, and the steps to the next ones."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: its name, the offset of its content in the file, and the length that it claims to have."""

    name: bytes
    start: int
    length: int


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield every chunk in the order of the file, until IEND, or until a head is cut off.

    The file is positioned at the chunk's content, and may be read. A content that is cut off is no error.
    """
    at = _SIGNATURE
    file.seek(at)
    while len(head := file.read(_HEAD)) == _HEAD:
        chunk = Chunk(head[4:], at + _HEAD, int.from_bytes(head[:4]))
        yield chunk
        if chunk.name == b"IEND":
            return  # what follows is no part of the picture: cameras and tools append things
        at = chunk.start + chunk.length + _CHECKSUM
        file.seek(at)


def is_interlaced(file: BinaryIO) -> bool:
    """Read the last byte of IHDR."""
    file.seek(_HEADER + 12)
    return file.read(1) == b"\1"


def has_all_rows(file: BinaryIO) -> bool:
    """Unpack the data of a PNG that a decoder has accepted, and return whether no row is missing.

    Takes about 3 ms per MiB. Raises OSError, zlib.error, struct.error or KeyError when the file is no PNG.
    """
    file.seek(_HEADER)
    width, height, depth, color, _, _, interlaced = struct.unpack(">2I5B", file.read(13))
    missing = 0
    for column, row, right, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = max(0, -(-(width - column) // right)), max(0, -(-(height - row) // down))
        bits = columns * depth * _SAMPLES[color]
        missing += rows * (1 + (bits + 7) // 8) if columns else 0  # a byte before each row names its filter
    inflate = zlib.decompressobj()
    for piece in _read_data(file):
        left = piece
        while left and missing > 0 and not inflate.eof:
            missing -= len(inflate.decompress(left, STEP))
            left = inflate.unconsumed_tail
        if missing <= 0:
            return True
    return missing <= len(inflate.flush())


def _read_data(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of the IDAT chunks in pieces."""
    for chunk in chunks(file):
        left = chunk.length if chunk.name == b"IDAT" else 0
        while left and (piece := file.read(min(left, STEP))):
            left -= len(piece)
            yield piece
