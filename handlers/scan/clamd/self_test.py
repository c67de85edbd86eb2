"""Files for the self-test: clamd must report a file that it has not scanned completely.

With `AlertExceedsMax no`, its default, clamd answers `OK` for a file beyond one of its limits, although it did not scan
it. No command returns its settings. So it gets a file that no configuration lets it scan completely.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from handlers.scan.clamd.instream import Source

LEVELS = 120
"""Archives nested in each other. clamd's MaxRecursion can be set to 100 at most."""
_ENCRYPTED = 0x01
"""Bit 0 of a zip entry's flags."""


@cache
def too_deep() -> bytes:
    """Return 12 KB of nested archives: clamd finds `Heuristics.Limits.Exceeded.MaxRecursion`, or hides its limits."""
    content = b""
    for _ in range(LEVELS):
        content = _zip(content)
    return content


@cache
def encrypted() -> bytes:
    """Return an archive marked as encrypted: clamd finds `Heuristics.Encrypted.Zip` (`AlertEncryptedArchive yes`)."""
    archive = bytearray(_zip(b"self-test"))
    archive[6] |= _ENCRYPTED  # in the entry's own header
    archive[archive.index(b"PK\1\2") + 8] |= _ENCRYPTED  # and in the directory
    return bytes(archive)


def source_of(content: bytes) -> Source:
    """Wrap bytes in memory as a source to scan."""

    async def pieces() -> AsyncIterator[bytes]:
        yield content

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    return opened


def _zip(content: bytes) -> bytes:
    target = BytesIO()
    with ZipFile(target, "w") as archive:
        archive.writestr(ZipInfo("a"), content, ZIP_DEFLATED)
    return target.getvalue()
