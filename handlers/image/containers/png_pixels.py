"""Chooses the chunks of a PNG that its pixels need, and mends numbers that decoders read without the depth.

Whatever else a file holds is not handed on, so that damage to it costs nothing.
"""

import os
import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from handlers.image.containers.png import Chunk, chunks
from handlers.image.containers.spliced import Part

_FRAME = 12
"""Bytes of a chunk beside its content: length, name and checksum."""
_LARGEST = 8 * 1024 * 1024
"""Bytes of a chunk of metadata, and of an inflated profile, at most. Photoshop's XMP fits, a zip bomb does not."""
_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"acTL": 8, b"fcTL": 26}
_XMP = b"XML:com.adobe.xmp\0\0"
"""The keyword of XMP, and the flag of text that is not compressed, as XMP never is."""
_GRAY, _RGB, _PALETTE = 0, 2, 3
_KEY_SAMPLES = {_GRAY: 1, _RGB: 3}
_PALETTE_SIZE = 256
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_METADATA = frozenset({b"tRNS", b"iCCP", b"eXIf", b"iTXt", b"gAMA", b"cHRM", b"sRGB"})
"""What tells colors and orientation. A palette is metadata but for indexed pixels: advice for old displays."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(slots=True)
class _Frames:
    """The animation as its chunks tell it: the frames with data, and whether a decoder would get through."""

    canvas: tuple[int, int]
    told: Chunk | None = None
    controls: int = 0
    count: int = 0
    sequence: int = 0
    sound: bool = True
    has_data: bool = False
    parts: list[int] = field(default_factory=list)
    """Places of the animation's chunks in the list of parts."""

    def take(self, file: BinaryIO, chunk: Chunk) -> bool:
        """Follow an animation as a decoder does. Returns whether the chunk is one of the animation's."""
        file.seek(chunk.start)
        content = file.read(min(chunk.length, 26))
        if chunk.length != _LENGTHS.get(chunk.name, chunk.length) or len(content) < 4:
            self.sound = False
            return True
        if chunk.name == b"acTL":
            first = self.told is None and not self.has_data
            self.told = chunk if first else self.told
            return first
        sequence, self.sequence = int.from_bytes(content[:4]), self.sequence + 1
        if sequence != self.sequence - 1:
            self.sound = False
        if chunk.name == b"fcTL":
            self.sound = self.sound and self.told is not None
            width, height, left, top = struct.unpack(">4I", content[4:20])
            fits = width and height and left + width <= self.canvas[0] and top + height <= self.canvas[1]
            self.sound = self.sound and bool(fits)
            self.controls += 1
        else:
            self.count = self.controls
        return True

    def finish(self, parts: list[Part], file: BinaryIO, *, ended: bool) -> list[Part]:
        """Return the parts with the true number of frames, or without the animation when it cannot be shown."""
        if self.told is None or not self.sound or (self.count == 0 and ended):
            animation = set(self.parts)
            return [part for place, part in enumerate(parts) if place not in animation]
        file.seek(self.told.start)
        told, plays = struct.unpack(">2I", file.read(8))
        if self.count < told and ended:  # a file that is cut tells the truth, and is damaged
            parts[self.parts[0]] = sealed(b"acTL", struct.pack(">2I", self.count, plays))
        return parts


def pixel_parts(file: BinaryIO) -> list[Part]:
    """Return the parts of a PNG that a decoder needs for its pixels, colors and orientation, and an end.

    Chunks of metadata with a wrong checksum or length are left out, and an animation that has no frames. The number of
    frames is the true one. What follows an end is left out, and a missing one is added: rows are counted elsewhere.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(16)
    header = file.read(10).ljust(10, b"\0")
    width, height, depth, color = struct.unpack(">2I2B", header)
    frames = _Frames((width, height))
    parts: list[Part] = [_SIGNATURE]
    ended = False
    for chunk in chunks(file):
        if chunk.name == b"IEND":
            ended = True
            break
        whole = chunk.start + chunk.length + 4 <= size
        if chunk.name in _ANIMATION:
            if whole and frames.take(file, chunk):
                frames.parts.append(len(parts))
                parts.append((chunk.start - 8, chunk.length + _FRAME))
            continue
        if chunk.name == b"IDAT":
            frames.has_data, frames.count = True, frames.controls
        if whole:
            parts += still_parts(file, chunk, depth, color)
        elif chunk.name == b"IDAT":
            # Whether what is there of the data is all that is needed is found by counting rows.
            there = max(0, size - chunk.start)
            parts += [struct.pack(">I", there) + chunk.name, (chunk.start, there), bytes(4)]
    return [*frames.finish(parts, file, ended=ended), sealed(b"IEND", b"")]


def sealed(name: bytes, content: bytes) -> bytes:
    """Return a chunk with its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def still_parts(file: BinaryIO, chunk: Chunk, depth: int, color: int) -> list[Part]:
    """Return a chunk as it is handed on, if at all."""
    if chunk.name in {b"IHDR", b"IDAT"} or (chunk.name == b"PLTE" and color == _PALETTE):
        return [(chunk.start - 8, chunk.length + _FRAME)]
    content = _sound(file, chunk)
    if content and chunk.name == b"tRNS":
        content = scaled_key(content, depth, color)
    return [sealed(chunk.name, content)] if content else []


def _sound(file: BinaryIO, chunk: Chunk) -> bytes | None:
    """Return the content of a chunk of metadata that is wanted and whole, else None."""
    if chunk.name not in _METADATA or chunk.length > _LARGEST:
        return None
    if chunk.length != _LENGTHS.get(chunk.name, chunk.length):
        return None
    file.seek(chunk.start)
    content, checksum = file.read(chunk.length), file.read(4)
    if struct.pack(">I", zlib.crc32(chunk.name + content)) != checksum:
        return None
    if chunk.name == b"iTXt" and not content.startswith(_XMP):
        return None
    return None if chunk.name == b"iCCP" and not is_profile(content) else content


def is_profile(content: bytes) -> bool:
    """Tell whether a profile can be inflated to a sensible size."""
    name, zero, packed = content.partition(b"\0")
    if not name or not zero or packed[:1] != b"\0":  # the only method of compression
        return False
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(packed[1:], _LARGEST)
    except zlib.error:
        return False
    return inflate.eof


def scaled_key(content: bytes, depth: int, color: int) -> bytes:
    """Return tRNS as it must be for samples of 8 bits, into which decoders turn colors and smaller grays.

    The key of 16-bit gray stays: such pixels keep their depth. Of that of 16-bit colors half is left (`deep_key`).
    """
    if color == _PALETTE:
        return content if len(content) <= _PALETTE_SIZE else b""
    samples = _KEY_SAMPLES.get(color, 0)
    if len(content) != 2 * samples:
        return b""
    top = (1 << depth) - 1
    values = [value & top for value in struct.unpack(f">{samples}H", content)]
    if depth == 16 and color == _RGB:
        values = [value >> 8 for value in values]
    elif color == _GRAY and depth in {2, 4}:
        values = [value * 255 // top for value in values]
    return struct.pack(f">{samples}H", *values)


def deep_key(file: BinaryIO) -> tuple[int, ...] | None:
    """Return the transparent color of a PNG of 16-bit colors, which decoders know by the upper bytes alone."""
    file.seek(24)
    if file.read(2) != bytes((16, _RGB)):
        return None
    found = [_sound(file, chunk) for chunk in chunks(file) if chunk.name == b"tRNS"]
    return next((struct.unpack(">3H", content) for content in found if content and len(content) == 6), None)
