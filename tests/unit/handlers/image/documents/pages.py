"""Documents with something to see on their pages."""

import zlib
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf

from tests.unit.handlers.scan.documents.samples import Change

MIB = 1024 * 1024


def painted(content: bytes, *, page: int = 0, **resources: Any) -> Change:
    """Paint a page by operators."""

    def change(pdf: Pdf) -> None:
        pdf.pages[page].obj.Contents = pdf.make_stream(content)
        pdf.pages[page].obj.Resources = Dictionary(**resources)

    return change


def shaped(box: tuple[float, float, float, float], **entries: Any) -> Change:
    """Give all pages another box, and other entries."""

    def change(pdf: Pdf) -> None:
        for page in pdf.pages:
            page.obj.MediaBox = Array(list(box))
            for name, value in entries.items():
                page.obj[f"/{name}"] = value

    return change


def widget(color: bytes) -> Change:
    """Add a filled field: its appearance is a square of this color, as operators of `rg`, in the lower left quarter."""

    def change(pdf: Pdf) -> None:
        look = pdf.make_stream(color + b" rg 0 0 100 100 re f")
        look.stream_dict.update(Dictionary(Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 100, 100])))
        field = pdf.make_indirect(
            Dictionary(
                Type=Name.Annot,
                Subtype=Name.Widget,
                FT=Name.Btn,
                Ff=65536,
                T=pikepdf.String("field"),
                F=4,
                Rect=Array([0, 0, 100, 100]),
                AP=Dictionary(N=look),
            )
        )
        pdf.pages[0].obj.Annots = Array([field])
        pdf.Root.AcroForm = Dictionary(Fields=Array([field]))

    return change


def bomb(size: int) -> Change:
    """Give the first page operators of so many bytes, all of them blanks, packed by Flate."""

    def change(pdf: Pdf) -> None:
        packer, piece = zlib.compressobj(), b" " * MIB
        packed = b"".join(packer.compress(piece) for _ in range(size // MIB)) + packer.flush()
        pdf.pages[0].obj.Contents = pdf.make_stream(b"")
        pdf.pages[0].obj.Contents.write(packed, filter=Name.FlateDecode)

    return change


def endless(pdf: Pdf) -> None:
    """Nest forms that each draw the next one thirty times: a page that no reader finishes."""
    inner = pdf.make_stream(b"0 0 1 rg 0 0 200 200 re f")
    shape = Dictionary(Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 200, 200]))
    inner.stream_dict.update(shape)
    for _ in range(12):
        outer = pdf.make_stream(b"/F Do " * 30)
        outer.stream_dict.update(shape)
        outer.stream_dict.Resources = Dictionary(XObject=Dictionary(F=inner))
        inner = outer
    painted(b"/F Do", XObject=Dictionary(F=inner))(pdf)
