"""Writes PNG files chunk by chunk, as no library writes them."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def apng(size: tuple[int, int], frames: int) -> bytes:
    """Gray frames of one value: large on the screen, tiny as a file."""
    width, height = size
    pixels = zlib.compress(bytes((width + 1) * height), 9)
    control = struct.pack(">5I2H2B", 0, width, height, 0, 0, 1, 10, 0, 0)
    parts = [
        chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)),
        chunk(b"acTL", struct.pack(">2I", frames, 0)),
        chunk(b"fcTL", control),
        chunk(b"IDAT", pixels),
    ]
    for n in range(1, frames):
        numbered = struct.pack(">I", 2 * n - 1) + control[4:]
        parts += [chunk(b"fcTL", numbered), chunk(b"fdAT", struct.pack(">I", 2 * n) + pixels)]
    return SIGNATURE + b"".join(parts) + chunk(b"IEND", b"")
