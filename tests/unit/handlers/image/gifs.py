"""Writes GIF files frame by frame, as no library writes them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

RED, GREEN, BLUE, WHITE = range(4)
_PALETTE = bytes((255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255))
_CLEAR, _END, _BITS = 4, 5, 3
"""Codes of LZW, and the bits of a code."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of one color, which may be the transparent one: its place (left, top, width, height) and disposal."""

    place: tuple[int, int, int, int]
    color: int
    disposal: int = 0
    transparent: int | None = None


def gif(size: tuple[int, int], frames: Sequence[Frame]) -> bytes:
    """Return a GIF whose background is named as blue, which no browser obeys."""
    parts = [b"GIF89a", struct.pack("<2H3B", *size, 0x81, BLUE, 0), _PALETTE]
    for frame in frames:
        flags = frame.disposal << 2 | (frame.transparent is not None)
        parts += [struct.pack("<4BHBB", 0x21, 0xF9, 4, flags, 10, frame.transparent or 0, 0)]
        parts += [struct.pack("<B4HB", 0x2C, *frame.place, 0), _data(frame)]
    return b"".join(parts) + b";"


def _data(frame: Frame) -> bytes:
    """Return the pixels, each code after a clear one, so that codes never grow."""
    codes = [_CLEAR, frame.color] * (frame.place[2] * frame.place[3]) + [_END]
    bits = "".join(f"{code:0{_BITS}b}" for code in reversed(codes))
    packed = int(bits, 2).to_bytes((len(bits) + 7) // 8, "little")
    blocks = (packed[at : at + 255] for at in range(0, len(packed), 255))
    return bytes([2]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
