"""Read the segments of a JPEG (ITU-T T.81, annex B) as libjpeg does."""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass

from handlers.image.containers.spliced import Part

SCAN = 0xDA
"""The marker before a scan's data."""
END = b"\xff\xd9"
_END = 0xD9
# libjpeg skips everything else wherever it stands: stuffed zeros, restart markers, fill bytes.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
_WITH_LENGTH = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})
_NEEDED_METADATA = {0xE0: ((b"JFIF", 14),), 0xEE: ((b"Adobe", 12),)} | {
    0xE1: ((b"Exif\0\0", 14), (b"http://ns.adobe.com/xap/1.0/\0", 29)),
    0xE2: ((b"ICC_PROFILE\0", 15), (b"MPF\0", 4)),
}
"""Application segments that say how colors are stored or turned: their first bytes, and how many bytes are whole."""
_METADATA = frozenset({*range(0xE0, 0xF0), 0xFE})


@dataclass(frozen=True, slots=True)
class JpegSegment:
    """One segment: its marker, where the marker begins, and where the segment ends. A scan's data follow the end."""

    marker: int
    start: int
    end: int


def segments(content: bytes | bytearray | mmap.mmap) -> Iterator[JpegSegment]:
    """Yield the segments until the end of the picture, or of the bytes. Each byte is read once.

    The last segment may end beyond the bytes. A gap between two segments is a scan's data, or bytes that libjpeg skips.
    """
    at = 2
    while found := _MARKER.search(content, at):
        marker, start, at = found[1][0], found.start(), found.end()
        if marker == _END:
            return
        if marker in _WITH_LENGTH:
            at += max(2, int.from_bytes(content[at : at + 2]))
        yield JpegSegment(marker, start, at)


def pixel_parts(content: bytes | bytearray | mmap.mmap) -> list[Part]:
    """Return the parts of a JPEG that a decoder needs for its pixels, colors and orientation, and an end.

    A second end does no harm. Metadata that are cut, and those that nobody here reads, are left out.
    """
    parts: list[Part] = [(0, 2)]
    for segment in segments(content):
        if segment.marker == SCAN:
            return [*parts, (segment.start, len(content) - segment.start), END]
        start = segment.start + 4  # behind the marker and the length
        known = _NEEDED_METADATA.get(segment.marker, ())
        needed = any(content[start : start + len(name)] == name and segment.end - start >= n for name, n in known)
        if segment.marker not in _METADATA or needed:
            parts.append((segment.start, segment.end - segment.start))
    return [(0, len(content))]
