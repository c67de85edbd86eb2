"""Counts the parts of a file where decoders take long for many that are tiny, before any decoder looks at it."""

import mmap
from pathlib import Path

from handlers.image.containers import isobmff, jpeg, png
from media.errors import Code, RejectedError

MAX_SCANS = 500
"""Of a progressive JPEG; each goes over all of it. Encoders make about ten; libjpeg's own tests stop here, too."""
MAX_SCANNED_BYTES = 5_000_000_000
"""Pixels of all scans of a JPEG: eight seconds. Encoders stay at a third, even for 100 megapixels."""
MAX_SEGMENTS = 100_000
"""Of a JPEG, headers and scans; 50 MB of metadata in segments of 64 KiB are 800."""
MAX_ITEMS = 5_000
"""Of an AVIF or HEIC, whose readers compare each with each. A hundred megapixels in tiles of 512 are 400."""
MAX_CHUNKS = 100_000
"""Of a PNG; 50 MB in chunks of 8 KiB, as usual, are 6,400."""
MOST_BOXES = 100_000
"""Of an AVIF or HEIC, items included."""
_HEIF = frozenset({"image/avif", "image/heic", "image/heif"})


def check_structure(path: Path, content_type: str) -> int:
    """Count the parts of a file; return the number of scans of a JPEG. A large JPEG takes some ms for 10 MB.

    Raises RejectedError `resource_limit` for too many.
    """
    scans = items = 0
    with path.open("rb") as file:
        if content_type == "image/png":
            for number, _ in enumerate(png.chunks(file), 1):
                _require_within(number, MAX_CHUNKS, "chunks")
        elif content_type == "image/jpeg":
            # Of its first picture, the only one that is decoded: a phone's film behind it counts nothing.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for number, segment in enumerate(jpeg.segments(content), 1):
                    _require_within(number, MAX_SEGMENTS, "segments")
                    scans += segment.marker == jpeg.SCAN
                    _require_within(scans, MAX_SCANS, "scans")
        elif content_type in _HEIF:
            for number, box in enumerate(isobmff.boxes(file), 1):
                items += box.name == b"infe"
                _require_within(items, MAX_ITEMS, "items")
                _require_within(number, MOST_BOXES, "boxes")
    return scans


def check_scans(scans: int, pixels: int) -> None:
    """Raise RejectedError `resource_limit` for a JPEG that goes over its pixels too often."""
    if scans * pixels > MAX_SCANNED_BYTES:
        raise RejectedError(Code.RESOURCE_LIMIT, f"{scans} scans of {pixels} pixels")


def _require_within(count: int, most: int, what: str) -> None:
    if count > most:
        raise RejectedError(Code.RESOURCE_LIMIT, f"more than {most} {what}")
