"""Finds what acts by itself in the objects of a PDF, and takes it out.

Every object of the file is walked, whether or not something refers to it. Only dictionaries count: names in titles,
metadata and the text of pages are text.
"""

import re
import zlib
from collections import Counter
from contextlib import suppress
from enum import StrEnum

from pikepdf import Array, Dictionary, Name, Object, Pdf, PdfError, Stream, String

from handlers.scan.documents import xfa
from handlers.scan.documents.scripts import LONGEST, is_harmless


class Harm(StrEnum):
    """A kind of thing that acts by itself, in words for users."""

    SCRIPT = "JavaScript"
    LAUNCH = "start of another program"
    SUBMIT = "sending of form data"
    IMPORT = "import of data"
    MEDIA = "embedded player (rich media)"
    FORM_SCRIPT = "script of an XFA form"
    PROGRAM = "attached program"
    ADDRESS = "address or file that opens by itself"


_NAMES = (
    *("JS", "JavaScript", "Launch", "SubmitForm", "ImportData", "RichMedia[A-Za-z]*", "XFA", "OnInstantiate", "EF"),
    *("AA", "OpenAction", "GoToR", "GoToE", "Thread", "ByteRange"),
)
_RELEVANT = re.compile(
    rb"/(?:%s)(?![A-Za-z0-9])|/S \d+ \d+ R|/Subtype \d+ \d+ R|/URI (?!\((?:https?|mailto):|/|>)"
    % "|".join(_NAMES).encode()
)
"""A first look at an object as qpdf writes it, names without escapes. Names in strings match too: they are seen again
as what they are. Plain links are harmless: some documents have tens of thousands."""
_REFERENCE = re.compile(rb"(?<!\d)(\d{1,10}) (\d{1,5}) R")
_HARM_OF_ACTION = {
    b"/Launch": Harm.LAUNCH,
    b"/SubmitForm": Harm.SUBMIT,
    b"/ImportData": Harm.IMPORT,
    b"/RichMediaExecute": Harm.MEDIA,
}
_TARGETS = frozenset({"/F", "/Win", "/Mac", "/Unix", "/TA", "/CMD"})
"""Keys of which such an action has one."""
_FILE_NAMES = ("/UF", "/F", "/DOS", "/Unix", "/Mac")
_ELSEWHERE = (Name.GoToR, Name.GoToE, Name.Thread)
"""Actions that open another file, where they have `/F`."""
_AUTOMATIC = ("/O", "/C", "/WC", "/WS", "/DS", "/WP", "/DP", "/PO", "/PC", "/PV", "/PI")
"""Triggers of additional actions that wait for no click: open, close, save, print, and pages that come into view."""
_UNSAFE_ADDRESS = re.compile(
    r"javascript:(?!(?:void\(0\))?;?$)"  # Adobe Sign writes `javascript:void(0);`
    r"|(?:vbscript|livescript|data|shell|mhtml|jar|res|view-source|search|search-ms|ms-[a-z.-]+):"
    r"|file:(?:/{4}|//[^/]|.*\\)|[\\/]{2}",
    re.IGNORECASE,
)
"""Addresses that run something, or lead to another machine's files, when they are clicked."""
_IGNORED_IN_ADDRESS = re.compile(r"[\0-\x20]+")
_NETWORK_PATH = re.compile(r"\s*(?:[\\/]{2}|[A-Za-z][A-Za-z+.-]+:)")
"""The beginning of a file's path that leads to another machine, which may learn the reader's password from it."""
_PROGRAM_NAME = re.compile(
    r"\.(?:exe|com|scr|pif|cpl|bat|cmd|ps1|psm1|vbs|vbe|jse?|wsf|wsh|hta|msi|msp|lnk|jar|reg|dll|sh|command|app|dmg|pkg"
    r"|deb|rpm|appimage|apk|url|scf|inf|chm|settingcontent-ms|application|gadget|iso|img|vhdx?)[\s.]*$",
    re.IGNORECASE,
)
_PROGRAM_MAGIC = (
    *(b"MZ", b"\x7fELF", b"#!", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe"),
    *(b"\xcf\xfa\xed\xfe", b"L\0\0\0\x01\x14\x02\0"),
)
_BYTE_ORDER_MARKS = {b"\xfe\xff": "utf-16-be", b"\xff\xfe": "utf-16-le", b"\xef\xbb\xbf": "utf-8"}
_MENDED = frozenset({"/ByteRange", "/Subtype", "/OnInstantiate", "/JS", "/XFA", "/OpenAction", "/AA"})
"""Keys of dictionaries that may have single entries to remove."""
_KEPT = frozenset({"/Type", "/Subtype", "/Length", "/Filter", "/DecodeParms"})
"""Keys of an attached file that tell what it is."""
_USAGE_RIGHTS = ("/UR", "/UR3")
"""Keys of permissions that Adobe gives to its reader by signing them, which no reader of today asks for."""
_MOST_CHAINED = 100
"""Actions that follow each other with `/Next`, of which the first runs by itself."""


class Disarmer:
    """Walks all objects of a document once, and takes out what acts. The document must be written anew then."""

    def __init__(self, pdf: Pdf) -> None:
        self.removed: Counter[Harm] = Counter()
        self.signed = False
        """Whether somebody signed the document. Adobe's usage rights are no such signature."""
        self.attachments: list[Object] = []
        """Dictionaries that name attached files, those that were taken out among them."""
        self._pdf = pdf
        self._harmful: set[tuple[int, int]] = set()
        self._counted: set[tuple[int, int]] = set()
        permissions = pdf.Root.get(Name.Perms)
        self._permissions = permissions if isinstance(permissions, Dictionary) else Dictionary()

    def run(self) -> None:
        """Take out everything that acts by itself. Raises PdfError for a document that cannot be walked."""
        for item in self._pdf.objects:
            if _RELEVANT.search(_text(item)):
                self._visit(item)
        # Indirect actions were found where they stand. Now what refers to them goes, and they are not written.
        if self._harmful:
            for item in self._pdf.objects:
                if any((int(n), int(g)) in self._harmful for n, g in _REFERENCE.findall(_text(item))):
                    self._visit(item)
        if self.removed:
            for name in _USAGE_RIGHTS:
                if name in self._permissions:
                    del self._permissions[name]

    def _visit(self, item: Object) -> None:
        """Look at an indirect object and the direct ones in it."""
        self._note(item)
        waiting = [item]
        while waiting:
            container = waiting.pop()
            if isinstance(container, Stream):
                container = container.stream_dict
            if isinstance(container, Dictionary):
                if not _MENDED.isdisjoint(container.keys()):
                    self._mend(container)
                keys = list(container.keys())  # `items()` fails at names that are no UTF-8
                waiting += [value for key in keys if self._keeps(container, key, value := container[key])]
            elif isinstance(container, Array):
                waiting += self._kept_elements(container)

    def _keeps(self, container: Object, key: str, value: Object) -> bool:
        """Remove a value that acts. Returns whether the value must be visited: it is direct and may hold more."""
        if not isinstance(value, (Dictionary, Array, Stream)):
            return False
        if self._note(value):
            del container[key]
            return False
        return not value.is_indirect

    def _kept_elements(self, array: Array) -> list[Object]:
        """Remove elements that act, and the keys of name trees before them. Returns the others to visit."""
        kept: list[Object] = []
        index = len(array) - 1
        while index >= 0:
            value = array[index]
            if isinstance(value, (Dictionary, Array, Stream)):
                if self._note(value):
                    del array[index]
                    if index and isinstance(array[index - 1], String):
                        index -= 1
                        del array[index]
                elif not value.is_indirect:
                    kept.append(value)
            index -= 1
        return kept

    def _note(self, item: Object) -> bool:
        """Tell whether an object acts and must go, and count it once."""
        if isinstance(item, Dictionary) and isinstance(item.get(Name.EF), Dictionary):
            self.attachments.append(item)
        harm = _harm_of(item)
        if harm is None:
            return False
        self._count(harm, item)
        if item.is_indirect:
            self._harmful.add(item.objgen)
        return True

    def _count(self, harm: Harm, item: Object) -> None:
        if item.is_indirect and item.objgen in self._counted:
            return
        self._counted.add(item.objgen)
        self.removed[harm] += 1

    def _mend(self, found: Object) -> None:
        """Remove single entries that act: of forms, of media, and actions that wait for no click."""
        if Name.ByteRange in found and Name.Contents in found:
            rights = [self._permissions[name] for name in _USAGE_RIGHTS if name in self._permissions]
            self.signed |= not found.is_indirect or all(found.objgen != right.objgen for right in rights)
        if found.get(Name.Subtype) == Name.RichMedia:  # its picture stays where the player was
            for key in ("/RichMediaContent", "/RichMediaSettings"):
                if key in found:
                    del found[key]
            found.Subtype = Name.Stamp
            self.removed[Harm.MEDIA] += 1
        for key in ("/OnInstantiate", "/JS"):
            if key in found and Name.S not in found:
                del found[key]
                self.removed[Harm.SCRIPT] += 1
        if Name.XFA in found and (scripts := xfa.disarm(self._pdf, found)):
            self.removed[Harm.FORM_SCRIPT] += scripts
        self._stop(found, "/OpenAction")
        triggers = found.get(Name.AA)
        if isinstance(triggers, Dictionary):
            for trigger in _AUTOMATIC:
                self._stop(triggers, trigger)

    def _stop(self, found: Object, trigger: str) -> None:
        """Remove an action that runs without a click, unless it is harmless."""
        if (acting := _find_acting(found.get(trigger))) is not None:
            self._count(*acting)
            del found[trigger]


def simplify(attachment: Object) -> None:
    """Leave of attached files what clamd unpacks: their type and bytes, without predictors and uncommon filters.

    A checksum, or anything else that is written in hex, keeps clamd from looking into the file.
    """
    files = attachment.EF
    for file in [files[key] for key in files.keys()]:  # noqa: SIM118 - see _visit
        if not isinstance(file, Stream):
            continue
        plain = file.get(Name.Filter, Name.FlateDecode) == Name.FlateDecode and Name.DecodeParms not in file
        if not plain:
            with suppress(PdfError):  # a filter that qpdf does not know
                file.write(file.read_bytes())
        for key in set(file.keys()) - _KEPT:
            del file[key]


def _text(item: Object) -> bytes:
    """Return an object as qpdf writes it, without a stream's data; nothing of a number, a name or a string."""
    if isinstance(item, Stream):
        return item.stream_dict.unparse()
    return item.unparse(resolved=True) if isinstance(item, (Array, Dictionary)) else b""


def _harm_of(item: Object) -> Harm | None:
    """Return what an object does by itself where it is an action or an attachment; else None."""
    if isinstance(item, Dictionary) and Name.EF in item and _is_program(item):
        return Harm.PROGRAM
    kind = item.get(Name.S) if isinstance(item, Dictionary) else None
    if not isinstance(kind, Name):
        return None
    if Name.JS in item and not _is_harmless(item.JS):
        return Harm.SCRIPT
    if kind == Name.URI:
        address = _IGNORED_IN_ADDRESS.sub("", _string(item.get(Name.URI)))
        return Harm.ADDRESS if _UNSAFE_ADDRESS.match(address) else None
    if kind in _ELSEWHERE:
        file = item.get(Name.F)
        names = [file.get(key) for key in _FILE_NAMES] if isinstance(file, Dictionary) else [file]
        return Harm.ADDRESS if any(_NETWORK_PATH.match(_string(name)) for name in names) else None
    # An element of the structure may have any name; an action has a target.
    is_element = item.get(Name.Type) == Name.StructElem and _TARGETS.isdisjoint(item.keys())
    return None if is_element else _HARM_OF_ACTION.get(bytes(kind))


def _find_acting(action: Object | None) -> tuple[Harm, Object] | None:
    """Return what acts of an action that runs without a click and of those that follow it; None if nothing does."""
    waiting = [action]
    seen = 0
    while waiting and seen < _MOST_CHAINED:
        one = waiting.pop()
        seen += 1
        if isinstance(one, Array):
            waiting += list(one)[:_MOST_CHAINED]
        elif isinstance(one, Dictionary):
            if (harm := _harm_of(one)) is not None:
                return harm, one
            if one.get(Name.S) in {Name.URI, *_ELSEWHERE} or seen == _MOST_CHAINED:
                return Harm.ADDRESS, one
            waiting.append(one.get(Name.Next))
    return None


def _is_harmless(script: Object) -> bool:
    if not isinstance(script, Stream):
        return is_harmless(_string(script))
    try:
        return len(script.read_raw_bytes()) <= LONGEST and is_harmless(_decode(script.read_bytes()))
    except PdfError:
        return False


def _is_program(attachment: Object) -> bool:
    if any(_PROGRAM_NAME.search(_string(attachment.get(key))) for key in _FILE_NAMES):
        return True
    files = attachment.EF
    kept = [files[key] for key in files.keys()] if isinstance(files, Dictionary) else []  # noqa: SIM118 - see _visit
    return any(_first_bytes(file).startswith(_PROGRAM_MAGIC) for file in kept if isinstance(file, Stream))


def _first_bytes(stream: Stream) -> bytes:
    """Return the beginning of an attached file, without unpacking more; nothing of one that cannot be unpacked."""
    try:
        if stream.get(Name.Filter) == Name.FlateDecode:
            return zlib.decompressobj().decompress(stream.read_raw_bytes(), 16)
        return stream.read_bytes()[:16]
    except (PdfError, zlib.error):
        return b""


def _string(value: Object | None) -> str:
    return _decode(bytes(value)) if isinstance(value, String) else ""


def _decode(data: bytes) -> str:
    """Decode a text string of a PDF. Its own encoding is read as Latin-1: what is looked for is ASCII."""
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    return data.decode("latin-1")
