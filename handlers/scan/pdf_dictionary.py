"""Tells from the bytes in front of a PDF's stream whether it holds objects, and whether these can be read.

Where its dictionary begins is not certain: `obj` may stand in a string, and the bytes before may be of a picture. So
every `obj` is taken for the beginning, and one that leads to an object stream is enough.
"""

import re
from enum import Enum, auto

LONGEST = 64 * 1024
"""Bytes before `stream` in which its dictionary is looked for. Forms that name all their fonts take a few KiB."""
_MOST_WORK = 8 * LONGEST
"""Bytes read for one dictionary; a document's objects, one after the other, take `LONGEST`."""
_MOST_IN_ALL = 8192 * LONGEST
"""Bytes read for all dictionaries of a document: five seconds. No honest one has so many object streams."""
_END = rb"(?![^\s\0()<>\[\]{}/%])"
_HEAD = re.compile(rb"obj(?<![A-Za-z/]obj)(?=[\s\0<%])")
_MARK = re.compile(rb"<<|<[^<>]*>|[(%]|(?<![^\s\0()<>\[\]{}])(?:endobj|endstream|stream|obj)" + _END)
_LINE_END = re.compile(rb"[\r\n]")
_PAREN = re.compile(rb"\\.|[()]", re.DOTALL)
SPACE = b"\0\t\n\v\f\r "
_ESCAPE = re.compile(rb"#([0-9A-Fa-f]{2})")
TELLTALE = re.compile(rb"/(?:(?:O|#4[Ff])(?:b|#62)(?:j|#6[Aa])(?:S|#53)|(?:F|#46)(?:i|#69)(?:r|#72)(?:s|#73)(?:t|#74))")
"""A name without which no dictionary is an object stream's."""
_TYPE = re.compile(rb"/ObjStm" + _END)
_FIRST = re.compile(rb"/First" + _END)
_COUNT = re.compile(rb"/N" + _END)
_FILTER = re.compile(rb"/(?:Filter|F)" + _END)
_FLATE = re.compile(rb"/(?:Filter|F)[\s\0]*(?:/(?:FlateDecode|Fl)" + _END + rb"|\[[\s\0]*/(?:FlateDecode|Fl)[\s\0]*\])")
_PREDICTED = re.compile(
    rb"/Predictor(?![\s\0]+1[\s\0]*[/>])"
    rb"|/(?:DecodeParms|DP)[\s\0]*\[?[\s\0]*(?:null[\s\0]*)*\d"  # written elsewhere
)


class Holds(Enum):
    """What is behind a dictionary."""

    ANYTHING = auto()
    PLAIN_OBJECTS = auto()
    FLATE_OBJECTS = auto()
    HIDDEN_OBJECTS = auto()
    """Objects by a filter, or several, that are not undone here; or a dictionary that cannot be told."""


class Dictionaries:
    """Of one document, from its beginning to its end."""

    def __init__(self) -> None:
        self._ended: set[int] = set()
        self._read = 0

    def holds(self, before: bytes, *, place: int, telltale: int) -> Holds:
        """What the stream after `before` holds, which begins at `place`; `telltale`: where in it the last one stands.

        An object that ended before this stream is not read again for the next one.
        """
        self._read += len(before)
        if self._read > _MOST_IN_ALL:
            return Holds.HIDDEN_OBJECTS
        if len(before) >= LONGEST and not _HEAD.search(before):
            return Holds.HIDDEN_OBJECTS if _may_end_one(before) else Holds.ANYTHING
        found, work = Holds.ANYTHING, 0
        self._ended = {one for one in self._ended if one >= place} if len(self._ended) > LONGEST else self._ended
        for head in _HEAD.finditer(before, 0, max(0, telltale)):
            if place + head.start() in self._ended:
                continue
            plain, read = _without_strings(before, head.end())
            work += read
            if work > _MOST_WORK:
                return Holds.HIDDEN_OBJECTS
            if plain is None:
                self._ended.add(place + head.start())
            else:
                one = _told(before[head.end() :], plain)
                found = one if one.value > found.value else found
        return found


def _may_end_one(before: bytes) -> bool:
    """Whether a dictionary may end here; or a comment, which may follow one."""
    before = before.rstrip(SPACE)
    last = before[max(before.rfind(b"\n"), before.rfind(b"\r")) + 1 :]
    return before.endswith(b">") or b"%" in last or len(last) == len(before)


def unescaped(window: bytes) -> bytes:
    """With `#4A` written as the byte it stands for in a name."""
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), window) if b"#" in window else window


def _told(raw: bytes, plain: bytes) -> Holds:
    """By a dictionary as it stands, and without strings and comments."""
    plain = unescaped(plain)
    either = unescaped(raw) + b" " + plain
    if not _TYPE.search(either) and not (_FIRST.search(either) and _COUNT.search(either)):
        return Holds.ANYTHING
    if not _FILTER.search(either):
        return Holds.PLAIN_OBJECTS
    flate = len(_FILTER.findall(plain)) == 1 and _FLATE.search(plain)
    return Holds.FLATE_OBJECTS if flate and not _PREDICTED.search(either) else Holds.HIDDEN_OBJECTS


def _without_strings(text: bytes, start: int) -> tuple[bytes | None, int]:
    """What follows `start` without strings and comments, none when the object ends in it; how many bytes were read.

    With a string that does not end, all as it stands: this is not how a reader sees it.
    """
    parts, place = [], start
    while mark := _MARK.search(text, place):
        kind = mark[0][:1]
        if kind not in b"<(%":
            return None, mark.end() - start
        parts.append(text[place : mark.start()])
        place = mark.end()
        if mark[0] == b"<<":
            parts.append(mark[0])
            continue
        parts.append(b" ")
        if kind == b"%":
            line_end = _LINE_END.search(text, place)
            place = line_end.start() if line_end else len(text)
        elif kind == b"(":
            place = _string_end(text, place)
            if place < 0:
                return text[start:], len(text) - start
    return b"".join([*parts, text[place:]]), len(text) - start


def _string_end(text: bytes, start: int) -> int:
    depth = 1
    for paren in _PAREN.finditer(text, start):
        depth += {b"(": 1, b")": -1}.get(paren[0], 0)
        if not depth:
            return paren.end()
    return -1
