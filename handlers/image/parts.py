"""Counts the parts of a file where decoders take long for many that are tiny, before any decoder looks at it."""

from collections.abc import Iterator
from pathlib import Path

from media.errors import Code, RejectedError

MOST_SCANS = 500
"""Of a progressive JPEG; each goes over all of it. Encoders make about ten; libjpeg's own tests stop here, too."""
MOST_SCANNED = 5_000_000_000
"""Pixels of all scans of a JPEG: eight seconds. Encoders stay at a third, even for 100 megapixels."""
MOST_ITEMS = 5_000
"""Of an AVIF or HEIC, whose readers compare each with each. A hundred megapixels in tiles of 512 are 400."""
MOST_CHUNKS = 100_000
"""Of a PNG; 50 MB in chunks of 8 KiB, as usual, are 6,400."""
STEP = 256 * 1024

_MARKS = {
    "image/jpeg": (b"\xff\xda", MOST_SCANS),
    "image/avif": (b"infe", MOST_ITEMS),
    "image/heic": (b"infe", MOST_ITEMS),
    "image/heif": (b"infe", MOST_ITEMS),
}
"""What a part begins with. Compressed data hardly hold it by chance: a JPEG's never do."""


def check_parts(path: Path, content_type: str) -> int:
    """The number of parts that are counted. Reads the file once, some ms for 10 MB.

    Raises RejectedError `resource_limit` for too many.
    """
    if content_type == "image/png" and any(number >= MOST_CHUNKS for number, _ in enumerate(_chunks(path))):
        raise RejectedError(Code.RESOURCE_LIMIT, f"more than {MOST_CHUNKS} chunks")
    if content_type not in _MARKS:
        return 0
    mark, most = _MARKS[content_type]
    if (count := _count(path, mark)) > most:
        raise RejectedError(Code.RESOURCE_LIMIT, f"more than {most} parts")
    return count


def check_scans(scans: int, pixels: int) -> None:
    """Raise RejectedError `resource_limit` for a JPEG that goes over its pixels too often."""
    if scans * pixels > MOST_SCANNED:
        raise RejectedError(Code.RESOURCE_LIMIT, f"{scans} scans of {pixels} pixels")


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
