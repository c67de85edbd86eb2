"""Decides by its dictionary, as readers understand it, whether a stream of a PDF holds objects.

The start of an object is not certain: `obj` may stand in a string or in the bytes of a picture. So every `obj` with a
dictionary behind it is followed to the end of that dictionary, at any distance.
"""

import re
from collections.abc import Callable
from enum import Enum, auto

from handlers.scan.pdf_reading import SOUND, Dictionary, Reading, TangledError, plain_name

MOST_READ = 64
"""Dictionaries followed at once; they overlap only where `obj` stands within one, or where readers disagree."""
MOST_IN_ALL = 16 * 1024 * 1024
"""Bytes of one document read word by word: what that takes is bounded as well. Sound dictionaries are not read so."""
CARRIED = 256
"""Bytes of a piece's end that are seen again, since a word may have begun there; none that matters is as long."""
_TELLTALE = re.compile(rb"#|/First|/ObjStm")
"""Without any of them a sound dictionary is no object stream's."""
_HEAD = re.compile(rb"obj(?<![A-Za-z/]obj)[\0\t\n\f\r <%]")
_FLATE = {b"/FlateDecode", b"/Fl"}


class Holds(Enum):
    """The content of the stream after a dictionary."""

    ANYTHING = auto()
    FLATE_OBJECTS = auto()
    HIDDEN_OBJECTS = auto()
    """Objects by a filter that is not undone here, by several, or by none: no writer leaves them uncompressed."""


class Dictionaries:
    """The dictionaries of one document. `check` is called often; its errors end the work."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._open: list[Reading] = []
        self._read = 0
        self.uninspectable = ""

    def feed(self, window: bytes, place: int, fresh: int) -> dict[int, Holds]:
        """Return the content of streams whose keywords are in `window`, by the keywords' offsets.

        `window` begins at byte `place` of the document. Its bytes before `fresh` were fed before. Streams that are
        not in the result may hold anything.
        """
        found: dict[int, Holds] = {}
        for head in _HEAD.finditer(window, max(0, fresh - CARRIED)):
            self._check()
            if head.end() > fresh and not _is_harmless(window, head.end() - 1):
                self._open.append(Reading(place + head.end() - 1))
            if len(self._open) >= MOST_READ:
                self._follow(window, place, found)
            if self.uninspectable:
                return found
        self._follow(window, place, found)
        return found

    def _follow(self, window: bytes, place: int, found: dict[int, Holds]) -> None:
        """Continue to read every open dictionary."""
        waiting, self._open = self._open, []
        while waiting and not self.uninspectable:
            self._check()
            one = waiting.pop()
            before = one.place
            try:
                waiting += one.read(window, place)
            except TangledError as error:
                self.uninspectable = str(error)
            self._read += one.place - before
            if one.keyword is not None:
                start = one.keyword - place
                found[start] = max(found.get(start, Holds.ANYTHING), held(one.dictionary), key=lambda what: what.value)
            elif not one.ended:
                self._open.append(one)
            if len(self._open) + len(waiting) >= MOST_READ or self._read > MOST_IN_ALL:
                self.uninspectable = "too many dictionaries within each other"


def _is_harmless(window: bytes, at: int) -> bool:
    """Return whether the object here is well-formed, so that all readers agree on it, and is no object stream."""
    sound = SOUND.match(window, at)
    if sound is None:
        return False
    return sound[1] == b"endobj" or not _TELLTALE.search(window, at, sound.end())


def held(dictionary: Dictionary) -> Holds:
    """Return the content of the stream after `dictionary`. Readers need `/First` and `/N`, some also `/Type`."""
    named = [value for value in dictionary.of(b"Type") if value[:1] == [b"/ObjStm"]]
    if not named and not (dictionary.of(b"First") and dictionary.of(b"N")):
        return Holds.ANYTHING
    filters = dictionary.of(b"Filter", b"F")
    if len(filters) == 1 and _is_flate(filters[0]) and all(_is_idle(each) for each in dictionary.of(*_PARAMETERS)):
        return Holds.FLATE_OBJECTS
    return Holds.HIDDEN_OBJECTS


_PARAMETERS = (b"DecodeParms", b"DP")


def _is_flate(value: list[bytes]) -> bool:
    if value[:1] == [b"["] and value[-1:] == [b"]"]:
        value = value[1:-1]
    return len(value) == 1 and plain_name(value[0]) in _FLATE


def _is_idle(value: list[bytes]) -> bool:
    """Return whether these parameters of a filter change nothing. Parameters by reference may do anything."""
    if set(value) <= {b"[", b"]", b"null"}:
        return True
    if value[:1] != [b"<<"] and value[:2] != [b"[", b"<<"]:
        return False
    return all(
        value[at + 1 : at + 2] == [b"1"] and value[at + 2 : at + 3] and value[at + 2][:1] in b"/>"
        for at, word in enumerate(value)
        if word == b"/Predictor"
    )
