"""Looks for what a PDF must not bring along. A scan of raw bytes, not a parser: it finds what is not hidden."""

import re

_NAMES = {
    "encrypted": re.compile(rb"/Encrypt\b"),
    "active": re.compile(rb"/(?:JavaScript|JS|Launch|RichMedia|XFA)\b"),
}
OVERLAP = 32
"""Bytes carried from one piece to the next, so that a name on the border is seen."""


class PdfWatch:
    """Fed with a document's bytes as they pass by."""

    def __init__(self) -> None:
        self._tail = b""
        self._seen: set[str] = set()

    def feed(self, piece: bytes) -> None:
        window = self._tail + piece
        self._seen |= {name for name, pattern in _NAMES.items() if pattern.search(window)}
        self._tail = window[-OVERLAP:]

    @property
    def encrypted(self) -> bool:
        return "encrypted" in self._seen

    @property
    def active(self) -> bool:
        return "active" in self._seen
