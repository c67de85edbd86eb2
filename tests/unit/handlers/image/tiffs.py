"""Writes TIFFs in layouts that no library writes."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHORT, LONG = 3, 4
UNSIGNED, SIGNED, REAL = 1, 2, 3
RAW, DEFLATE = 1, 8
TOGETHER, SEPARATE = 1, 2


@dataclass(frozen=True)
class Layout:
    """How samples are laid down; names and numbers are the format's."""

    bits: int
    samples: int = 1
    photometric: int = 1
    sample_format: int = UNSIGNED
    compression: int = RAW
    planes: int = TOGETHER
    extra: tuple[int, ...] = ()
    big: bool = False

    def __str__(self) -> str:
        order, kind = "MM" if self.big else "II", {1: "u", 2: "i", 3: "f"}[self.sample_format]
        return (
            f"{order} {kind}{self.bits}x{self.samples} photometric {self.photometric} {self.compression} {self.planes}"
        )


def tiff_of(values: NDArray[np.float64], layout: Layout, *more: tuple[int, int, tuple[int, ...]]) -> bytes:
    """A TIFF of rows of columns of samples; `values` are numbers as they are to be stored."""
    order = ">" if layout.big else "<"
    height, width = values.shape[:2]
    planes = [values.reshape(height, -1)]
    if layout.planes == SEPARATE:
        planes = [values.reshape(height, width, -1)[:, :, n] for n in range(layout.samples)]
    strips = [_packed(plane, layout, order) for plane in planes]
    tags: list[tuple[int, int, tuple[int, ...]]] = [
        (256, LONG, (width,)),
        (257, LONG, (height,)),
        (258, SHORT, (layout.bits,) * layout.samples),
        (259, SHORT, (layout.compression,)),
        (262, SHORT, (layout.photometric,)),
        (277, SHORT, (layout.samples,)),
        (278, LONG, (height,)),
        (279, LONG, tuple(len(strip) for strip in strips)),
        (284, SHORT, (layout.planes,)),
        (339, SHORT, (layout.sample_format,) * layout.samples),
        *([(338, SHORT, layout.extra)] if layout.extra else []),
        *more,
    ]
    return _directory(tags, strips, order)


def _directory(tags: list[tuple[int, int, tuple[int, ...]]], strips: list[bytes], order: str) -> bytes:
    place = {SHORT: "H", LONG: "I"}
    at = 8 + 2 + 12 * (len(tags) + 1) + 4
    room = sum(len(v) * (2 if kind == SHORT else 4) for _, kind, v in tags) + 4 * len(strips) + 64
    offsets, start = [], at + room
    for strip in strips:
        offsets.append(start)
        start += len(strip)
    fields, values = b"", b""
    for tag, kind, numbers in sorted([*tags, (273, LONG, tuple(offsets))]):
        stored = struct.pack(f"{order}{len(numbers)}{place[kind]}", *numbers)
        if len(stored) > 4:
            values, stored = values + stored, struct.pack(f"{order}I", at + len(values))
        fields += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + stored.ljust(4, b"\0")
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, len(tags) + 1)
    return head + fields + bytes(4) + values.ljust(room, b"\0") + b"".join(strips)


def _packed(plane: NDArray[np.float64], layout: Layout, order: str) -> bytes:
    kind = {UNSIGNED: "u", SIGNED: "i", REAL: "f"}[layout.sample_format]
    if layout.bits % 8 == 0 and layout.bits != 24:
        data = plane.astype(f"{order}{kind}{layout.bits // 8}").tobytes()
    else:
        data = b"".join(_bits(row, layout.bits) for row in plane)
    return zlib.compress(data) if layout.compression == DEFLATE else data


def _bits(row: NDArray[np.float64], bits: int) -> bytes:
    text = "".join(f"{int(value):0{bits}b}" for value in row)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")
