"""Limits the parts of a file before a decoder opens it: decoders take long for many tiny parts."""

import mmap
from pathlib import Path

from handlers.image.containers import isobmff, jpeg, png
from media.errors import Code, RejectedError

MAX_SCANS = 500
"""Scans of a progressive JPEG; each covers the whole picture. Encoders write about ten. libjpeg's tests stop here."""
MAX_SCANNED_BYTES = 5_000_000_000
"""Pixels of all scans of a JPEG: eight seconds. Encoders need a third of it for 100 megapixels."""
MAX_SEGMENTS = 100_000
"""Segments of a JPEG, headers and scans. 50 MB of metadata in segments of 64 KiB are 800."""
MAX_ITEMS = 5_000
"""Items of an AVIF or HEIC; readers compare every pair. A hundred megapixels in tiles of 512 pixels are 400."""
MAX_CHUNKS = 100_000
"""Chunks of a PNG. 50 MB in chunks of 8 KiB, the usual size, are 6,400."""
MAX_BOXES = 100_000
"""Boxes of an AVIF or HEIC, items included."""
_HEIF = frozenset({"image/avif", "image/heic", "image/heif"})


def check_structure(path: Path, content_type: str) -> int:
    """Count the parts of a file; return the number of scans of a JPEG. Takes some ms for 10 MB of JPEG.

    Raises RejectedError `resource_limit` for too many.
    """
    scans = items = 0
    with path.open("rb") as file:
        if content_type == "image/png":
            for number, _ in enumerate(png.chunks(file), 1):
                _require_within(number, MAX_CHUNKS, "chunks")
        elif content_type == "image/jpeg":
            # Only the first picture is decoded, so the count ends there: a phone may append a film.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for number, segment in enumerate(jpeg.segments(content), 1):
                    _require_within(number, MAX_SEGMENTS, "segments")
                    scans += segment.marker == jpeg.SCAN
                    _require_within(scans, MAX_SCANS, "scans")
        elif content_type in _HEIF:
            for number, box in enumerate(isobmff.boxes(file), 1):
                items += box.name == b"infe"
                _require_within(items, MAX_ITEMS, "items")
                _require_within(number, MAX_BOXES, "boxes")
    return scans


def check_scans(scans: int, pixels: int) -> None:
    """Raise RejectedError `resource_limit` for a JPEG whose scans cover too many pixels."""
    if scans * pixels > MAX_SCANNED_BYTES:
        raise RejectedError(Code.RESOURCE_LIMIT, f"{scans} scans of {pixels} pixels")


def _require_within(count: int, most: int, what: str) -> None:
    if count > most:
        raise RejectedError(Code.RESOURCE_LIMIT, f"more than {most} {what}")
