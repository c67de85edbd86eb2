"""What clamd must prove before it is believed: that it says so when it has not looked into everything.

With `AlertExceedsMax no`, its default, a file beyond one of its limits comes back `OK` although it was not scanned, and
no command tells its settings. So it is asked to look into something that no configuration lets it finish.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from handlers.scan.clamd.instream import Source

LEVELS = 120
"""Archives within each other; clamd's MaxRecursion can be set to 100 at most."""
_ENCRYPTED = 0x01
"""Bit 0 of a zip entry's flags."""


@cache
def too_deep() -> bytes:
    """12 KB of archives within archives: `Heuristics.Limits.Exceeded.MaxRecursion`, or clamd hides its limits."""
    content = b""
    for _ in range(LEVELS):
        content = _zipped(content)
    return content


@cache
def encrypted() -> bytes:
    """An archive that says it is encrypted: `Heuristics.Encrypted.Zip` with `AlertEncrypted yes`."""
    archive = bytearray(_zipped(b"canary"))
    archive[6] |= _ENCRYPTED  # in the entry's own header
    archive[archive.index(b"PK\1\2") + 8] |= _ENCRYPTED  # and in the directory
    return bytes(archive)


def source_of(content: bytes) -> Source:
    """Bytes that are in memory, as a source to scan."""

    async def pieces() -> AsyncIterator[bytes]:
        yield content

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    return opened


def _zipped(content: bytes) -> bytes:
    target = BytesIO()
    with ZipFile(target, "w") as archive:
        archive.writestr(ZipInfo("a"), content, ZIP_DEFLATED)
    return target.getvalue()
