"""Reads one dictionary of a PDF word by word, as pdf.js and poppler do, over any number of pieces.

These readers tolerate many errors. A key that is no name is skipped. `endobj` is a word like any other. A missing value
is the next word, even the `>>` that ends the dictionary. PDFium ends the dictionary there: where readers differ, both
ways are followed.
"""

import re
from copy import deepcopy
from enum import Enum, auto

DEEPEST = 500
"""Arrays and dictionaries within each other. poppler gives up at the same depth."""
LONGEST_WORD = 200
"""Bytes of a word that are read. No name that matters is longer, even with every letter escaped."""
MOST_WORDS = 64
"""Words of a value that are read. Values that matter have up to ten."""
_DELIMITER = re.compile(rb"[\0\t\n\f\r ()<>\[\]{}/%]")
"""The vertical tab, which Python takes for a space, is no delimiter."""
_SPACE = re.compile(rb"[\0\t\n\f\r ]*+")
_REGULAR = rb"[^\0\t\n\f\r ()<>\[\]{}/%]"
_WORD = re.compile(rb"<<|>>|/?" + _REGULAR + b"{1,%d}|." % LONGEST_WORD, re.DOTALL)
_LINE_END = re.compile(rb"[\r\n]")
_HEX_END = re.compile(rb">")
_PAREN = re.compile(rb"\\.|[()]", re.DOTALL)
_ESCAPE = re.compile(rb"#([0-9A-Fa-f]{2})")
_TOLD = {b"/Type", b"/First", b"/N", b"/Filter", b"/F", b"/DecodeParms", b"/DP"}


def _sound() -> re.Pattern[bytes]:
    """Build a pattern for a dictionary that all readers read alike, and the keyword behind it. It never backtracks."""
    name = b"/" + _REGULAR + b"*+"
    string = rb"\((?:[^()\\]++|\\.|\((?:[^()\\]++|\\.)*+\))*+\)|<[0-9A-Fa-f\s]*+>"
    simple = name + b"|" + string + rb"|[-+.\d]++|true|false|null"
    reference = _S + rb"\d++" + _S + b"R(?!" + _REGULAR + b")"
    dictionary = b"(?!)"
    for _ in range(5):
        value = (
            simple + b"|" + dictionary + rb"|\[" + _S + b"(?:(?:R|" + simple + b"|" + dictionary + b")" + _S + rb")*+\]"
        )
        dictionary = b"<<" + _S + b"(?:" + name + _S + b"(?:" + value + b")(?:" + reference + b")?+" + _S + b")*+>>"
    return re.compile(_S + dictionary + _S + b"(endobj|stream)(?!" + _REGULAR + b")", re.DOTALL)


_S = rb"[\0\t\n\f\r ]*+"
SOUND = _sound()
_RUN = re.compile(b"(?:" + _S + rb"(?:[-+.\d]++|R(?!" + _REGULAR + b")))*+")
"""Elements of an array that have no effect."""


class TangledError(ValueError):
    """Readers may differ on this in ways that are not followed."""


class _Expects(Enum):
    ELEMENT = auto()
    KEY = auto()
    VALUE = auto()


def plain_name(word: bytes) -> bytes:
    """Return a name with escapes such as `#4A` replaced by their bytes."""
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), word) if b"#" in word else word


class Dictionary:
    """The words of the values that define how a stream is read. Of a key that is there twice, both values."""

    def __init__(self) -> None:
        self._values: list[tuple[bytes, list[bytes]]] = []
        self.telling = False

    def of(self, *keys: bytes) -> list[list[bytes]]:
        """Return the values of these keys, each with all words up to the next key."""
        return [value for key, value in self._values if key[1:] in keys]

    def key(self, word: bytes) -> None:
        self.telling = word in _TOLD
        if self.telling:
            self._values.append((word, []))
        if len(self._values) > MOST_WORDS:
            raise TangledError("a dictionary that says the same again and again")

    def value(self, word: bytes) -> None:
        if self.telling and len(self._values[-1][1]) < MOST_WORDS:
            self._values[-1][1].append(word)


class Reading:
    """One object, read from the end of its `obj`. `place` is the byte of the document at which reading continues."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.dictionary = Dictionary()
        self.ended = False
        self.keyword: int | None = None
        self._stack: list[_Expects] = []
        self._begun = False
        self._within: re.Pattern[bytes] | None = None
        self._parens = 0

    def read(self, window: bytes, place: int) -> "list[Reading]":
        """Continue in `window`, which begins at byte `place`, until its end or the dictionary's end.

        Returns the other ways in which readers may read it from some byte on. Afterwards `ended` is set when this is no
        stream's dictionary, and `keyword`, the byte at which `stream` begins, when it is one. Raises TangledError.
        """
        others: list[Reading] = []
        at = self.place - place
        while not self.ended and self.keyword is None:
            if self._within is not None and (at := self._leave(window, at)) < 0:
                break
            idle = self._stack and self._stack[-1] is _Expects.ELEMENT and not self.dictionary.telling
            between = _RUN if idle else _SPACE
            at = between.match(window, at).end()  # type: ignore[union-attr] # matches nothing, too
            at = _SPACE.match(window, at).end()  # type: ignore[union-attr]
            self.place = place + at
            word = _WORD.match(window, at)
            if word is None or word.end() == len(window):
                break  # it may go on
            at = word.end()
            self.place = place + at
            others += self._take(word[0], place + word.start())
        return others

    def _leave(self, window: bytes, at: int) -> int:
        """Return the end of the string, comment or long word; -1 when it is not in this window."""
        if self._within is _PAREN:
            return self._leave_string(window, at, len(window) - at)
        end = self._within.search(window, at) if self._within else None
        self.place += (end.start() if end else len(window)) - at
        if end is None:
            return -1
        at = end.end() if self._within is _HEX_END else end.start()
        self._within = None
        return at

    def _leave_string(self, window: bytes, at: int, left: int) -> int:
        for paren in _PAREN.finditer(window, at):
            self._parens += {b"(": 1, b")": -1}.get(paren[0], 0)
            if not self._parens:
                self._within = None
                return paren.end()
        # A backslash at the very end belongs to the byte that comes next; one that is escaped itself does not.
        last = len(window) - len(window.rstrip(b"\\"))
        self.place += left - min(last, left) % 2
        return -1

    def _take(self, word: bytes, start: int) -> "list[Reading]":
        if word == b"%":
            self._within = _LINE_END
            return []
        if not self._stack:
            self._begin_or_end(word, start)
            return []
        if len(word) > LONGEST_WORD - 1:
            self._within = _DELIMITER
        elif word == b"(":
            self._within, self._parens = _PAREN, 1
        elif word == b"<":
            self._within = _HEX_END
        return self._expected(plain_name(word) if word[:1] == b"/" else word)

    def _begin_or_end(self, word: bytes, start: int) -> None:
        """Handle a word outside the dictionary: before it, or directly after it."""
        if not self._begun and word == b"<<":
            self._begun = True
            self._stack.append(_Expects.KEY)
        elif self._begun and word == b"stream":
            self.keyword = start
        else:
            self.ended = True

    def _expected(self, word: bytes) -> "list[Reading]":
        expects = self._stack[-1]
        if expects is _Expects.KEY:
            self._key(word)
            return []
        if word.endswith(b"BI") and word[:1] != b"/":
            raise TangledError("a picture within a dictionary")  # pdf.js passes over all that it holds
        others = [self._closed()] if word == b">>" else []
        if expects is _Expects.VALUE:
            self._stack[-1] = _Expects.KEY
        self.dictionary.value(word)
        if word == b"<<":
            self._stack.append(_Expects.KEY)
        elif word == b"[":
            self._stack.append(_Expects.ELEMENT)
        elif word == b"]" and expects is _Expects.ELEMENT:
            self._stack.pop()
        if len(self._stack) > DEEPEST:
            raise TangledError(f"more than {DEEPEST} dictionaries within each other")
        return others

    def _key(self, word: bytes) -> None:
        if word == b">>":
            self._pop()
        elif word[:1] != b"/":
            self.dictionary.value(word)  # the rest of a reference; else readers skip it
        else:
            self._stack[-1] = _Expects.VALUE
            if len(self._stack) == 1:
                self.dictionary.key(word)
            else:
                self.dictionary.value(word)

    def _closed(self) -> "Reading":
        """Return a copy that takes `>>` for the end, although a value or an element was expected."""
        other = deepcopy(self)
        other.close()
        return other

    def close(self) -> None:
        """End the innermost dictionary and all arrays that are open in it."""
        while self._stack[-1] is _Expects.ELEMENT:
            self._stack.pop()
        self._pop()

    def _pop(self) -> None:
        """Leave a dictionary at its end."""
        self._stack.pop()
        if self._stack:
            self.dictionary.value(b">>")
