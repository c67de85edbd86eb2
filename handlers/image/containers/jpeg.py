"""Read the segments of a JPEG (ITU-T T.81, annex B) as libjpeg meets them."""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass

SCAN = 0xDA
"""The marker before a scan's data."""
_END = 0xD9
# Everywhere libjpeg passes over what is none of these: zeros stuffed in, restart markers, filling.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
_WITH_LENGTH = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})


@dataclass(frozen=True, slots=True)
class JpegSegment:
    """One segment: its marker, where that begins, and where the segment ends. A scan's data follow behind its end."""

    marker: int
    start: int
    end: int


def segments(content: bytes | bytearray | mmap.mmap) -> Iterator[JpegSegment]:
    """Yield the segments until the end of the picture, or of the bytes. Each byte is looked at once.

    The last one may end behind the bytes. Where one does not begin at the end of the one before, something lies
    between: a scan's data, or what libjpeg passes over.
    """
    at = 2
    while found := _MARKER.search(content, at):
        marker, start, at = found[1][0], found.start(), found.end()
        if marker == _END:
            return
        if marker in _WITH_LENGTH:
            at += max(2, int.from_bytes(content[at : at + 2]))
        yield JpegSegment(marker, start, at)
