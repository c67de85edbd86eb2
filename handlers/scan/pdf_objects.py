"""Finds a PDF's object streams and unpacks them: since PDF 1.5 most objects stand in them, compressed."""

import re
import zlib
from collections.abc import Callable, Iterator

from handlers.scan.pdf_dictionary import CARRIED, Dictionaries, Holds

UNPACKED_LIMIT = 256 * 1024 * 1024
"""Bytes unpacked from one document, all streams together. A hundred thousand objects fit into a tenth of it."""
ONE_STEP = 256 * 1024
ONE_LOOK = 4096
"""Bytes of a stream that show whether it is worth unpacking."""
MOST_STREAMS = 250_000
"""In one document. An honest one of 100 MB would hold nothing but streams of 400 bytes."""
MOST_OPEN = 8
"""Streams unpacked at once. They nest only where one is hidden in another."""
_FIRST = 64
"""Unpacked bytes that show how a stream begins."""
_OVERLAP = 4096
"""Unpacked bytes that are seen again with those that follow."""
_SPACE = b"\0\t\n\v\f\r "
_START = re.compile(rb"stream(?<=[>\s\0]stream)[\s\0()<>\[\]{}/%]")
"""The keyword. Readers skip everything between it and the end of its line."""
_MAYBE_FLATE = re.compile(rb"[\s\0]*+(?:[\x08\x18\x28\x38\x48\x58\x68\x78]|\Z)")
"""Low bits of 8: the only method that there is."""
_WITHIN = re.compile(rb"(?:>>|[\r\n])[\s\0]*stream[\s\0()<>\[\]{}/%]")
"""A stream in an object stream. It is not allowed there, but pdf.js reads it."""
_OBJECTS = re.compile(rb"\s*\d+\s+\d+\s")
"""How an object stream begins: pairs of an object's number and its offset."""

Look = Callable[[bytes], None]
"""Called with unpacked bytes, preceded by the end of those before."""
Check = Callable[[], None]
"""Called often. Its errors end the work."""


class ObjectStreams:
    """Finds object streams in a document's bytes and passes their content to `look`."""

    def __init__(self, look: Look, check: Check) -> None:
        self._look = look
        self._before = b""
        self._passed = 0  # bytes before `_before`
        self._dictionaries = Dictionaries(check)
        self._open: list[_Unpacking] = []
        self._left = UNPACKED_LIMIT
        self._tried = 0
        self.uninspectable = ""

    def feed(self, piece: bytes) -> None:
        for one in self._open:
            self._unpack(one, piece)
        window, seen = self._before + piece, len(self._before)
        told = self._dictionaries.feed(window, self._passed, seen)
        self.uninspectable = self.uninspectable or self._dictionaries.uninspectable
        for start in _START.finditer(window, max(0, seen - CARRIED)):
            if start.end() > seen:
                self._begin(told.get(start.start(), Holds.ANYTHING), window, start.end() - 1)
        self._open = [one for one in self._open if not one.done]
        self._before = window[-CARRIED:]
        self._passed += len(window) - len(self._before)

    def _begin(self, what: Holds, window: bytes, at: int) -> None:
        """Begin with a stream, unless it is certainly not Flate. Of one that is probably not Flate little is tried."""
        must = what is Holds.FLATE_OBJECTS
        if what is Holds.HIDDEN_OBJECTS:
            self.uninspectable = "an object stream that is not plain Flate"
        elif not must and not _MAYBE_FLATE.match(window, at):
            return
        elif self._tried >= MOST_STREAMS or len([one for one in self._open if not one.done]) >= MOST_OPEN:
            self.uninspectable = "too many streams"
        else:
            self._tried += 1
            one = _Unpacking(must=must)
            self._unpack(one, window[at : at + ONE_LOOK])
            if not one.done:
                self._unpack(one, window[at + ONE_LOOK :])
            if not one.done:
                self._open.append(one)

    def _unpack(self, one: "_Unpacking", data: bytes) -> None:
        for text in one.feed(data):
            self._left -= len(text)
            self._look(text)
            if _holds_a_stream(text):
                self.uninspectable = "a stream within an object stream"
            if self._left < 0:
                one.done = True
                self.uninspectable = f"its streams unpack to more than {UNPACKED_LIMIT} bytes"
                return
        if one.failed:
            self.uninspectable = "an object stream that is not plain Flate"


def _holds_a_stream(text: bytes) -> bool:
    """Return whether a stream follows a dictionary, or a line that ends in a comment or is too long to tell."""
    line, before = 0, 0  # where the match's line begins; nothing is looked through twice
    for match in _WITHIN.finditer(text):
        start = match.start()
        line = max(line, text.rfind(b"\n", before, start) + 1, text.rfind(b"\r", before, start) + 1)
        before = start
        if match[0][:1] == b">" or text.find(b"%", line, start) >= 0 or (not line and len(text) >= _OVERLAP):
            return True
    return False


class _Unpacking:
    """One stream that is being unpacked. `must`: its dictionary says that it holds objects, so it must be readable."""

    def __init__(self, *, must: bool) -> None:
        self._must = must
        self._inflate = zlib.decompressobj()
        self._held = b""
        self._started = self._begun = self._line_ended = False
        self.done = False
        self.failed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the unpacked bytes step by step, until there are no more or the caller sets `done`."""
        if not self._started:
            space, data = data, data.lstrip(_SPACE)  # the keyword's line may end in the next piece
            space = space[: len(space) - len(data)]
            self._line_ended |= b"\r" in space or b"\n" in space
            self._started = bool(data)
            if data and self._must and not self._line_ended:
                self._end(failed=True)  # where the stream begins, readers do not agree
        while data and not self.done:
            try:
                text = self._inflate.decompress(data, ONE_STEP)
            except zlib.error:
                self._end(failed=self._must)
                return
            data = self._inflate.unconsumed_tail
            last = self._inflate.eof
            if self._begins(text, last=last):
                yield self._held
                self._held = self._held[-_OVERLAP:]
            if last:
                self.done = True

    def _begins(self, text: bytes, *, last: bool) -> bool:
        """Return whether the unpacked bytes begin like objects. If not, no more is unpacked."""
        self._held += text
        if not self._begun and (len(self._held) >= _FIRST or last):
            self._begun = True
            if self._held.strip() and not _OBJECTS.match(self._held):
                self._end(failed=self._must)
        return self._begun and not self.done

    def _end(self, *, failed: bool) -> None:
        self.done, self.failed = True, failed
