"""Read the segments of a JPEG (ITU-T T.81, annex B) as libjpeg does."""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass

SCAN = 0xDA
"""The marker before a scan's data."""
_END = 0xD9
# libjpeg skips everything else wherever it stands: stuffed zeros, restart markers, fill bytes.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
_WITH_LENGTH = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})


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
