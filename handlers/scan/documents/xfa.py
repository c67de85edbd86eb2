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
    packets = form[Name.XFA]
    streams = [packets] if isinstance(packets, Stream) else packets if isinstance(packets, Array) else []
    try:
        xml = b"".join(piece.read_bytes() for piece in streams if isinstance(piece, Stream))
        if not xml:
            return 0
        # No entities and no network: the text is a stranger's.
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
        root = etree.fromstring(xml if len(xml) <= _LARGEST else b"", parser)
    except (etree.XMLSyntaxError, ValueError, PdfError):
        del form[Name.XFA]
        return 1
    # The packet of data is data, even where somebody called an element "script".
    acting_packets = [packet for packet in root.iterchildren("{*}*") if etree.QName(packet).localname != "datasets"]
    found = [element for packet in acting_packets for element in packet.iter("{*}*")]
    acting = [element for element in found if etree.QName(element).localname in _ACTING]
    for element in acting:
        element.getparent().remove(element)
    if acting:
        form[Name.XFA] = pdf.make_stream(etree.tostring(root, encoding="UTF-8", xml_declaration=True))
    return len(acting)
