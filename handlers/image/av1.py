"""Compares what an AVIF says of its size with what its coded pictures say: libavif enlarges these to any size."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import ImageFile

from handlers.image.geometry import Size
from handlers.image.source import decoding
from media.errors import Code, RejectedError

_HEAD = 1024 * 1024
"""Bytes in which the boxes that tell where items lie are looked for; 5000 items take 160 KB."""
_MOST_ITEMS = 5000
_UNIT = 64
"""Bytes: a sequence header takes ten, or some more with timing."""
_SEQUENCE_HEADER, _DELIMITER = 0x0A, b"\x12\0"
"""What these units begin with; before the header's content comes a byte that tells its length."""


class _Bits:
    """Reads numbers of so many bits, most significant first. Zeros follow the end."""

    def __init__(self, data: bytes) -> None:
        self._left = 8 * len(data)
        self._value = int.from_bytes(data, "big")

    def take(self, count: int) -> int:
        self._left -= count
        return (self._value >> self._left if self._left >= 0 else 0) & ((1 << count) - 1)


def check_size(image: ImageFile.ImageFile, path: Path) -> None:
    """Raise RejectedError `corrupt` when an AVIF's still picture says that it is larger than what is coded of it.

    Says nothing of files whose items cannot be found, which libavif reads in its own way, or refuses.
    """
    if image.format != "AVIF":
        return
    with path.open("rb") as file, decoding():
        head, end = file.read(_HEAD), path.stat().st_size
        coded = [size for at in _items(head) if at < end and (size := _coded_size(file, at))]
    if not coded:
        return
    width, height = max(size[0] for size in coded), max(size[1] for size in coded)
    if b"infe" in head and b"grid" in head:
        fits = image.width * image.height <= sum(size[0] * size[1] for size in coded)
    else:
        fits = image.width <= width and image.height <= height
    if not fits:
        raise RejectedError(Code.CORRUPT, f"{image.width}×{image.height} pixels are told, {width}×{height} are coded")


def _items(head: bytes) -> Iterator[int]:
    """Where each item of the file begins, by the box `iloc` (ISO 14496-12, 8.11.3)."""
    at = head.find(b"iloc") + 4
    if at < 4:  # noqa: PLR2004 - the length of its name
        return
    version, sizes = int.from_bytes(head[at : at + 1], "big"), int.from_bytes(head[at + 4 : at + 6], "big")
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    number_size, at = (4 if version == 2 else 2), at + 6  # noqa: PLR2004 - versions of the box
    count, at = int.from_bytes(head[at : at + number_size], "big"), at + number_size
    extent = offset_size + length_size + (index_size if version else 0)
    for _ in range(min(count, _MOST_ITEMS)):
        at += number_size
        in_file = not version or head[at + 1 : at + 2] in {b"", b"\0"}
        at += 2 * bool(version) + 2
        base, at = int.from_bytes(head[at : at + base_size], "big"), at + base_size
        extents, at = int.from_bytes(head[at : at + 2], "big"), at + 2
        first = at + (index_size if version else 0)
        if extents and in_file:
            yield base + int.from_bytes(head[first : first + offset_size], "big")
        at += extents * extent


def _coded_size(file: BinaryIO, at: int) -> Size | None:
    """Of an item that begins with a sequence header, perhaps behind a delimiter."""
    file.seek(at)
    data = file.read(_UNIT)
    if len(data) < _UNIT // 4:
        return None
    data = data.removeprefix(_DELIMITER)
    return _sequence(_Bits(data[2:])) if data[0] == _SEQUENCE_HEADER else None


def _sequence(bits: _Bits) -> Size:
    """The largest frame that a sequence header allows (AV1 specification, 5.5.1)."""
    bits.take(4)
    if bits.take(1):
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay = 0
    if bits.take(1):
        delay = _skip_timing(bits)
    displays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:  # noqa: PLR2004 - levels from 4.0 on have a tier
            bits.take(1)
        if delay and bits.take(1):
            bits.take(2 * delay + 1)
        if displays and bits.take(1):
            bits.take(4)


def _skip_timing(bits: _Bits) -> int:
    """The bits of a delay in the decoder's model; 0 without one."""
    bits.take(64)
    if bits.take(1):
        zeros = 0
        while zeros < 32 and not bits.take(1):  # noqa: PLR2004 - the longest number of this kind
            zeros += 1
        bits.take(zeros)
    if not bits.take(1):
        return 0
    delay = bits.take(5) + 1
    bits.take(42)
    return delay
