"""Counts the parts of a file where decoders take long for many that are tiny, before any decoder looks at it."""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from media.errors import Code, RejectedError

MOST_SCANS = 500
"""Of a progressive JPEG; each goes over all of it. Encoders make about ten; libjpeg's own tests stop here, too."""
MOST_SCANNED = 5_000_000_000
"""Pixels of all scans of a JPEG: eight seconds. Encoders stay at a third, even for 100 megapixels."""
MOST_SEGMENTS = 100_000
"""Of a JPEG, headers and scans; 50 MB of metadata in segments of 64 KiB are 800."""
MOST_ITEMS = 5_000
"""Of an AVIF or HEIC, whose readers compare each with each. A hundred megapixels in tiles of 512 are 400."""
MOST_CHUNKS = 100_000
"""Of a PNG; 50 MB in chunks of 8 KiB, as usual, are 6,400."""
STEP = 256 * 1024

_ITEM = b"infe"
"""What an item begins with. Compressed data hardly hold it by chance."""
_HEIF = frozenset({"image/avif", "image/heic", "image/heif"})
_SCAN, _END = 0xDA, 0xD9
# Everywhere libjpeg passes over what is none of these: zeros stuffed in, restart markers, filling.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
_WITH_LENGTH = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})


def check_parts(path: Path, content_type: str) -> int:
    """The number of parts that are counted. Reads the file once, some ms for 10 MB.

    Raises RejectedError `resource_limit` for too many.
    """
    if content_type == "image/png" and any(number >= MOST_CHUNKS for number, _ in enumerate(_chunks(path))):
        raise RejectedError(Code.RESOURCE_LIMIT, f"more than {MOST_CHUNKS} chunks")
    if content_type == "image/jpeg":
        return _scans(path)
    if content_type in _HEIF:
        return _within(_count(path, _ITEM), MOST_ITEMS, "items")
    return 0


def check_scans(scans: int, pixels: int) -> None:
    """Raise RejectedError `resource_limit` for a JPEG that goes over its pixels too often."""
    if scans * pixels > MOST_SCANNED:
        raise RejectedError(Code.RESOURCE_LIMIT, f"{scans} scans of {pixels} pixels")


def _scans(path: Path) -> int:
    """Scans of a JPEG's first picture, the only one that is decoded: a phone's film behind it counts nothing."""
    scans = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for number, marker in enumerate(_markers(content)):
            _within(number, MOST_SEGMENTS, "segments")
            scans = _within(scans + (marker == _SCAN), MOST_SCANS, "scans")
    return scans


def _markers(content: mmap.mmap) -> Iterator[int]:
    """The markers that libjpeg meets until the end of the picture, or of the file. Each byte is looked at once."""
    at = 2
    while found := _MARKER.search(content, at):
        (marker,) = found[1]
        at = found.end()
        if marker == _END:
            return
        yield marker
        if marker in _WITH_LENGTH:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))


def _within(count: int, most: int, what: str) -> int:
    if count > most:
        raise RejectedError(Code.RESOURCE_LIMIT, f"more than {most} {what}")
    return count


def _count(path: Path, mark: bytes) -> int:
    count, tail = 0, b""
    with path.open("rb") as file:
        while piece := file.read(STEP):
            count += (tail + piece).count(mark)
            tail = (tail + piece)[1 - len(mark) :]
    return count


def _chunks(path: Path) -> Iterator[int]:
    """The length of each chunk."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:  # noqa: PLR2004 - a chunk's length and name
            length = int.from_bytes(head[:4], "big")
            yield length
            file.seek(length + 4, 1)
