"""Finds forbidden content of a PDF, in its bytes as they stream by and in its compressed object streams.

It finds names anywhere and with any escapes, also in object streams that use Flate, the only filter that writers use
for them. A document with an object stream that it cannot read is uninspectable, and refused. It does not follow
references, and does not read attached files and fonts (clamd does). An `/OpenAction` or an `/AA` alone is harmless: it
may set a view, and a harmful action is named in it. Names in plain strings are text: a link to `…/JavaScript` runs
nothing.
"""

import re

from handlers.scan.effort import Effort, TooCostlyError
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
    # Every reader needs these, if only in an object stream.
    "object": re.compile(rb"\d[\s\0]++\d++[\s\0]++obj\b"),
    "pages": re.compile(rb"/(?:Catalog|Pages)\b"),
}
_STRING = re.compile(rb"(/(?!JS[\s\0]*\()[A-Za-z]{1,32})[\0\t\n\f\r ]{0,8}+\([^()<>\\\0\f\r\n]{0,2000}+\)")
"""A name and its short, plain string, on one line and without brackets. All readers see a string here, or nothing when
it is in a comment or another string. The name itself stays, and so does a script's own string. A string across the
border of two pieces is inspected."""
OVERLAP = 128
"""Bytes carried from one piece to the next, so that a name on the border is seen, with every letter escaped too."""
MOST_EFFORT = 10.0
"""Seconds of CPU for one document. An honest one of 100 MB takes less than one."""


class PdfWatch:
    """Inspects a document's bytes as they stream by. CPU-bound: a few milliseconds per MiB."""

    def __init__(self, effort: float = MOST_EFFORT) -> None:
        self.timed_out = False
        """Whether it took more than `effort` seconds of CPU. Then the rest was not inspected."""
        self._tail = b""
        self._seen: set[str] = set()
        self._effort = Effort(effort)
        self._objects = ObjectStreams(self._look, self._effort.check)

    def feed(self, piece: bytes) -> None:
        if self.timed_out:
            return
        self._effort.begin()
        try:
            window = self._tail + piece
            self._look(window)
            self._tail = window[-OVERLAP:]
            self._objects.feed(piece)
        except TooCostlyError:
            self.timed_out = True

    @property
    def encrypted(self) -> bool:
        return "encrypted" in self._seen

    @property
    def active(self) -> bool:
        """Whether it runs scripts, starts programs or carries forms and players that do."""
        return "active" in self._seen or {"rendition", "script"} <= self._seen

    @property
    def empty(self) -> bool:
        """Whether it lacks what every document has: objects, and among them pages."""
        return not {"object", "pages"} <= self._seen

    @property
    def uninspectable(self) -> str:
        """Why part of it could not be inspected; empty when all could."""
        return self._objects.uninspectable

    def _look(self, window: bytes) -> None:
        self._effort.check()
        for text in {window, plain_name(window)}:
            self._seen |= {name for name in _PARTS.keys() - self._seen if _holds(text, _PARTS[name])}


def _holds(text: bytes, part: re.Pattern[bytes]) -> bool:
    """Return whether a part is there, and not only in strings. Strings are removed only after a match."""
    return bool(part.search(text)) and bool(part.search(_STRING.sub(rb"\1 ", text)))
