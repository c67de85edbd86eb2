"""PDFs for the tests, each with one thing in it that acts or does not."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf, String

Change = Callable[[Pdf], None]


def document(*changes: Change, pages: int = 1, **options: Any) -> bytes:
    """Return a document of blank pages after some changes. `options` are those of `Pdf.save`."""
    with pikepdf.new() as pdf:
        for _ in range(pages):
            pdf.add_blank_page(page_size=(200, 200))
        for change in changes:
            change(pdf)
        target = BytesIO()
        pdf.save(target, deterministic_id="encryption" not in options, **options)
    return target.getvalue()


def script(text: str = "app.alert(1)") -> Dictionary:
    return Dictionary(S=Name.JavaScript, JS=String(text))


def opening(action: Dictionary) -> Change:
    """Run an action when the document opens."""

    def change(pdf: Pdf) -> None:
        pdf.Root.OpenAction = pdf.make_indirect(action)

    return change


def named_script(text: str, name: str = "start") -> Change:
    """Put a script into the name tree, where all run when the document opens."""

    def change(pdf: Pdf) -> None:
        tree = Dictionary(Names=Array([String(name), pdf.make_indirect(script(text))]))
        pdf.Root.Names = Dictionary(JavaScript=pdf.make_indirect(tree))

    return change


def annotated(**entries: Any) -> Change:
    """Put an annotation on the first page."""

    def change(pdf: Pdf) -> None:
        annotation = Dictionary(Type=Name.Annot, Subtype=Name.Link, Rect=Array([0, 0, 50, 50]), **entries)
        pdf.pages[0].obj.Annots = Array([pdf.make_indirect(annotation)])

    return change


def field(**triggers: str) -> Change:
    """Add a form with a text field that runs scripts."""

    def change(pdf: Pdf) -> None:
        actions = Dictionary({f"/{name}": script(text) for name, text in triggers.items()})
        widget = Dictionary(Subtype=Name.Widget, FT=Name.Tx, T=String("dob"), Rect=Array([0, 0, 50, 9]), AA=actions)
        pdf.Root.AcroForm = Dictionary(Fields=Array([pdf.make_indirect(widget)]))

    return change


def attached(name: str, content: bytes) -> Change:
    def change(pdf: Pdf) -> None:
        pdf.attachments[name] = pikepdf.AttachedFileSpec(pdf, content, filename=name)

    return change


def xfa(*packets: bytes) -> Change:
    """Add an XFA form, in pieces."""

    def change(pdf: Pdf) -> None:
        pieces = [value for packet in packets for value in (String("piece"), pdf.make_stream(packet))]
        pdf.Root.AcroForm = Dictionary(Fields=Array([]), XFA=Array(pieces))

    return change


def signed(pdf: Pdf) -> None:
    """Add what a signature looks like. Nobody checks it."""
    value = Dictionary(
        Type=Name.Sig, Filter=Name("/Adobe.PPKLite"), ByteRange=Array([0, 1, 2, 3]), Contents=String("x")
    )
    widget = Dictionary(Subtype=Name.Widget, FT=Name.Sig, T=String("signature"), V=pdf.make_indirect(value))
    pdf.Root.AcroForm = Dictionary(Fields=Array([pdf.make_indirect(widget)]), SigFlags=3)


def texts(content: bytes) -> str:
    """Return a document with all its dictionaries and streams readable."""
    target = BytesIO()
    with pikepdf.open(BytesIO(content)) as pdf:
        pdf.save(target, qdf=True, compress_streams=False, stream_decode_level=pikepdf.StreamDecodeLevel.generalized)
    return target.getvalue().decode("latin-1")
