"""Looks for what a PDF must not bring along, in its bytes as they pass by and in its compressed object streams.

It sees names wherever they stand and however they are escaped, and what object streams hold by Flate, the only filter
that writers use for them. An object stream that it cannot look into makes the document opaque, which is refused. What
it does not do: follow references, or look into attached files and fonts (clamd does). So an `/OpenAction` or an `/AA`
alone is no harm: it may set a view, and what would be harm is named in it.
"""

import re

from handlers.scan.pdf_objects import ObjectStreams
from handlers.scan.pdf_reading import plain_name

_PARTS = {
    "encrypted": re.compile(rb"/Encrypt\b"),
    # `/JS` and `/XFA` are so short that compressed pictures contain them by chance: what must follow is asked for too.
    "active": re.compile(
        rb"/(?:JavaScript|Launch|RichMedia|OnInstantiate)\b"
        rb"|/JS\s*(?:\((?:[\t\r\n -~]{6}|\xfe\xff)|<[0-9A-Fa-f\s]{4}|\d+\s+\d+\s+R\b)"
        rb"|/XFA[\s\0]*(?:[\[%]|[-+.\d]+[\s\0%]|(?<=[\s\0]{9}))"
    ),
    # Besides `/JavaScript` the one kind of action that may have a script, whatever its string begins with.
    "rendition": re.compile(rb"/Rendition\b"),
    "script": re.compile(rb"/JS\b"),
}
OVERLAP = 128
"""Bytes carried from one piece to the next, so that a name on the border is seen, with every letter escaped too."""


class PdfWatch:
    """Fed with a document's bytes as they pass by. CPU-bound: a few milliseconds per MiB."""

    def __init__(self) -> None:
        self._tail = b""
        self._seen: set[str] = set()
        self._objects = ObjectStreams(self._look)

    def feed(self, piece: bytes) -> None:
        window = self._tail + piece
        self._look(window)
        self._tail = window[-OVERLAP:]
        self._objects.feed(piece)

    @property
    def encrypted(self) -> bool:
        return "encrypted" in self._seen

    @property
    def active(self) -> bool:
        """Whether it runs scripts, starts programs or carries forms and players that do."""
        return "active" in self._seen or {"rendition", "script"} <= self._seen

    @property
    def opaque(self) -> str:
        """Why part of it could not be looked into; empty when all could."""
        return self._objects.opaque

    def _look(self, window: bytes) -> None:
        plain = plain_name(window)
        self._seen |= {name for name, pattern in _PARTS.items() if pattern.search(window) or pattern.search(plain)}
