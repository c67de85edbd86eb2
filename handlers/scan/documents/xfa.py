"""Takes scripts and submissions out of XFA forms, which are XML in streams of a PDF."""

from lxml import etree
from pikepdf import Array, Name, Object, Pdf, PdfError, Stream

_ACTING = frozenset({"script", "submit", "execute", "signData", "connectionSet", "sourceSet"})
"""Local names of elements that act, in the packets of an XFA form."""
_LARGEST = 16 * 1024 * 1024
"""Bytes of a form. One with pictures takes a few hundred thousand; libxml2 needs minutes for some large ones."""


def disarm(pdf: Pdf, form: Object) -> int:
    """Remove what acts from the form's `/XFA`, and return how much that was.

    A form that is no XML, or too large, is removed as a whole: no reader can show it, and nothing says what it does.
    """
    root = _parse(form[Name.XFA])
    if root is None:
        del form[Name.XFA]
        return 1
    acting = [element for element in root.iter("{*}*") if etree.QName(element).localname in _ACTING]
    # What Acrobat reads the form's data from is data, even where somebody called an element "script".
    acting = [element for element in acting if not _is_data(element)]
    for element in acting:
        parent = element.getparent()
        if parent is not None:
            parent.remove(element)
    if acting:
        form[Name.XFA] = pdf.make_stream(etree.tostring(root, encoding="UTF-8", xml_declaration=True))
    return len(acting)


def _parse(packets: Object) -> "etree._Element | None":
    try:
        xml = _xml_of(packets)
        # No entities and no network: the text is a stranger's.
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
        return etree.fromstring(xml, parser) if len(xml) <= _LARGEST else None
    except (etree.XMLSyntaxError, ValueError, PdfError):
        return None


def _xml_of(packets: Object) -> bytes:
    """Return the form: one stream, or pieces with their names between them."""
    if isinstance(packets, Stream):
        return packets.read_bytes()
    if isinstance(packets, Array):
        return b"".join(piece.read_bytes() for piece in packets if isinstance(piece, Stream))
    return b""


def _is_data(element: "etree._Element") -> bool:
    return any(etree.QName(above).localname == "datasets" for above in element.iterancestors("{*}*"))
