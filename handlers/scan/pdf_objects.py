"""Finds a PDF's object streams and unpacks them: since PDF 1.5 most objects stand in them, compressed."""

import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator

from handlers.scan.pdf_dictionary import LONGEST, SPACE, TELLTALE, Dictionaries, Holds

UNPACKED_LIMIT = 256 * 1024 * 1024
"""Bytes unpacked of one document, all streams together. A hundred thousand objects fit into a tenth of it."""
ONE_STEP = 256 * 1024
MOST_OPEN = 8
"""Streams unpacked at once; they nest only where somebody hides one in another."""
_CARRIED = 16
"""Bytes of a piece's end in which the keyword may have begun."""
_FIRST = 64
"""Unpacked bytes that tell how a stream begins."""
_OVERLAP = 128
_START = re.compile(rb"(?<=[>\s\0])stream[\s\0()<>\[\]{}/%]")
"""The keyword, whatever stands between it and the end of its line: readers pass over it."""
_OBJECTS = re.compile(rb"\s*\d+\s+\d+\s")
"""How an object stream begins: pairs of an object's number and its offset."""

Look = Callable[[bytes], None]
"""Given unpacked bytes, the end of what came before in front of them."""


class ObjectStreams:
    """Fed with a document's bytes; hands what its object streams hold to `look`."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._before = b""
        self._passed = 0  # bytes before `_before`
        self._dictionaries = Dictionaries()
        self._open: list[_Unpacking] = []
        self._left = UNPACKED_LIMIT
        self.opaque = ""

    def feed(self, piece: bytes) -> None:
        for one in self._open:
            self._unpack(one, piece)
        window = self._before + piece
        fresh = max(0, len(self._before) - _CARRIED)
        starts = [one for one in _START.finditer(window, fresh) if one.end() > len(self._before)]
        names = [one.start() for one in TELLTALE.finditer(window)] if starts else []
        for start in starts:
            first = max(0, start.start() - LONGEST)
            known = bisect_left(names, start.start())
            telltale = names[known - 1] - first if known else -1
            before = window[first : start.start()]
            what = self._dictionaries.holds(before, place=self._passed + first, telltale=telltale)
            self._begin(what, window[start.end() - 1 :])
        self._open = [one for one in self._open if not one.done]
        self._before = window[-LONGEST - _CARRIED :]
        self._passed += len(window) - len(self._before)

    def _begin(self, what: Holds, data: bytes) -> None:
        if what is Holds.PLAIN_OBJECTS:
            return  # whoever sees the document's bytes sees them
        if what is Holds.HIDDEN_OBJECTS:
            self.opaque = "an object stream that is not plain Flate"
        elif len([one for one in self._open if not one.done]) >= MOST_OPEN:
            self.opaque = "too many streams within each other"
        else:
            one = _Unpacking(must=what is Holds.FLATE_OBJECTS)
            self._unpack(one, data)
            self._open.append(one)

    def _unpack(self, one: "_Unpacking", data: bytes) -> None:
        for text in one.feed(data):
            self._left -= len(text)
            self._look(text)
            if self._left < 0:
                one.done = True
                self.opaque = f"its streams unpack to more than {UNPACKED_LIMIT} bytes"
                return
        if one.failed:
            self.opaque = "an object stream that is not plain Flate"


class _Unpacking:
    """One stream on its way. `must`: its dictionary says that it holds objects, so it has to be readable."""

    def __init__(self, *, must: bool) -> None:
        self._must = must
        self._inflate = zlib.decompressobj()
        self._held = b""
        self._started = self._begun = self._line_ended = False
        self.done = False
        self.failed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes out, step by step, until there is no more or the caller sets `done`."""
        if not self._started:
            space, data = data, data.lstrip(SPACE)  # the keyword's line may end in the next piece
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
        """Whether what came out so far begins as objects do; no more is unpacked when it does not."""
        self._held += text
        if not self._begun and (len(self._held) >= _FIRST or last):
            self._begun = True
            if self._held.strip() and not _OBJECTS.match(self._held):
                self._end(failed=self._must)
        return self._begun and not self.done

    def _end(self, *, failed: bool) -> None:
        self.done, self.failed = True, failed
