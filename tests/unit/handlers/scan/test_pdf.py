"""Forbidden content of a PDF is found wherever it is, and harmless content passes."""

import random
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.scan import pdf_dictionary, pdf_objects
from tests.unit.handlers.scan.documents import PLAIN, inspect, objects, stream

CORPUS = Path(__file__).parents[4] / "../shared/corpus"
SCRIPT = b"<< /S /JavaScript /JS (app.alert(1)) >>"

FLATE = b"/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode"
HEX = b"/N 1 /First 4 /Filter /ASCIIHexDecode"


def noise_of(seed: int, size: int) -> bytes:
    """Random bytes, like those of compressed pictures."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - nothing is kept secret by it


@pytest.mark.parametrize("step", [1, 7, 4096])
@pytest.mark.parametrize(
    "content",
    [
        PLAIN + SCRIPT,
        PLAIN + b"<< /S /J#61vaScript >>",
        PLAIN + b"<< /S /#4A#61#76#61#53#63#72#69#70#74 >>",
        PLAIN + b"<< /S /Rendition /JS 12 0 R >>",
        PLAIN + b"<< /S /Rendition /JS <6170702E> >>",
        PLAIN + b"<< /S /Rendition /JS%\n(\xe9=1) >>",
        PLAIN + b"<< /Type /3D /OnInstantiate 5 0 R >>",
        PLAIN + b"<< /AcroForm << /XFA%c\n+5 0 R >> >>",
        PLAIN + b"<< /AcroForm << /XFA" + b" " * 300 + b"5 0 R >> >>",
        PLAIN + b"<< /S /Launch /F (cmd.exe) >>",
        PLAIN + b"<< /Type /Annot /Subtype /RichMedia >>",
        PLAIN + b"<< /AcroForm << /XFA [ (form) 3 0 R ] >> >>",
        objects(SCRIPT),
        objects(SCRIPT.replace(b"Java", b"#4aava")),
        objects(SCRIPT, b"/Type /Obj#53tm /Filter [/FlateDecode]"),
        objects(b" " * 5000 + SCRIPT),
        objects(SCRIPT, b"/Filter /FlateDecode"),
        objects(SCRIPT, b"/Type /ObjStm /Filter /FlateDecode " + b"% padding\n" * 500),
        PLAIN + stream(b"/Type /ObjStm /Filter /FlateDecode", zlib.compress(b"1 0 " + SCRIPT), b"\r\n"),
        PLAIN + stream(b"/Type /ObjStm", b"1 0 " + SCRIPT),
        *[PLAIN + stream(FLATE, zlib.compress(b"1 0 " + SCRIPT), line) for line in (b" \n", b"\t \r\n", b"\0\r")],
        objects(SCRIPT, FLATE + b" /X (obj) % 5 0 obj\n"),
    ],
)
def test_active_content_is_found(content: bytes, step: int) -> None:
    assert inspect(content, step).active


def test_an_object_stream_within_a_stored_stream_is_found() -> None:
    inner = stream(b"/Type /ObjStm /Filter /FlateDecode", zlib.compress(b"1 0 " + SCRIPT))
    assert inspect(PLAIN + stream(b"/Filter /FlateDecode", zlib.compress(inner, level=0))).active


@pytest.mark.parametrize("content", [b"/Encrypt 5 0 R", b"/Encr#79pt 5 0 R", b"/Encrypt<< /V 4 >>"])
def test_encryption_is_found(content: bytes) -> None:
    assert inspect(PLAIN + content).encrypted


@pytest.mark.parametrize(
    "content",
    [
        stream(b"/Type /ObjStm /Filter /LZWDecode", b"\x80\x0b\x60\x50"),
        stream(b"/Type /ObjStm /Filter [/ASCIIHexDecode /FlateDecode]", zlib.compress(b"1 0 x").hex().encode()),
        stream(b"/Type /ObjStm /Filter [/FlateDecode /FlateDecode]", zlib.compress(zlib.compress(b"1 0 x" * 50))),
        stream(b"/Type /ObjStm /DecodeParms << /Predictor 12 >> /Filter /FlateDecode", zlib.compress(b"1 0 x")),
        stream(FLATE + b" /DecodeParms 9 0 R", zlib.compress(b"1 0 x")),
        stream(FLATE + b" /DecodeParms [null 9 0 R]", zlib.compress(b"1 0 x")),
        stream(FLATE + b" /DecodeParms << /Predictor%\n2 >>", zlib.compress(b"1 0 x")),
        stream(FLATE + b" /DecodeParms << /Predictor 1 0 R >>", zlib.compress(b"1 0 x")),
        stream(b"/Type /ObjStm /Filter [/FlateDecode /ASCIIHexDecode]", zlib.compress(b"31 20 30 20 78>")),
        stream(b"/Type /ObjStm /Filter 9 0 R", zlib.compress(b"31 20 30 20 78>")),
        stream(b"/Type /ObjStm /Filter /FlateDecode", zlib.compress(noise_of(1, 9000))[:-20] + b"broken"),
    ],
)
def test_unreadable_object_stream_is_uninspectable(content: bytes) -> None:
    assert inspect(PLAIN + content).uninspectable


@pytest.mark.parametrize("step", [1, 4096])
@pytest.mark.parametrize(
    "dictionary",
    [
        HEX,
        HEX.replace(b"First", b"Fi#72st").replace(b"/N", b"/#4e").replace(b"Filter", b"#46ilter"),
        b"/Type /ObjStm /Filter /ASCIIHexDecode /X (obj)",
        HEX + b" /X (endobj 5 0 obj << % )\n",
        HEX + b" /X (\\) (nested) 5 0 obj << ) % 6 0 obj <<\n",
        HEX + b" /X <( endobj obj >",
        HEX + b" /X (%)",
        HEX + b" % (\n",
        HEX + b" " * 5000,
        HEX + b" " * 80_000,
        HEX + b" % endstream endobj 5 0 obj <<\n" * 3,
        HEX.replace(b"/Filter", b"/F"),
    ],
)
def test_scripts_in_an_object_stream_in_disguise_are_uninspectable(dictionary: bytes, step: int) -> None:
    noise = stream(b"/Filter /DCTDecode", b"\xff\xd8 ( % obj < ( << " + noise_of(5, 300))
    content = PLAIN + noise + stream(dictionary, (b"1 0 " + SCRIPT).hex().encode() + b">")
    if len(content) > 50_000:
        step = 4096
    assert inspect(content, step).uninspectable


FAR = b"/P (" + b"x" * 70_000 + b" 5 0 obj << /A 1 >> endobj) "


@pytest.mark.parametrize("step", [999, 65_536, 1 << 20])
@pytest.mark.parametrize(
    "dictionary",
    [
        pytest.param(HEX + FAR, id="an object in a long string"),
        pytest.param(b"/N 1 " + FAR + b"/First 4 /Filter /ASCIIHexDecode", id="in its middle"),
        pytest.param(b"%" + b"y" * 70_000 + b" 9 0 obj <<>> endobj\n" + HEX, id="in a comment"),
        pytest.param(HEX + FAR + b" /X endobj 8 0 obj << /A 1", id="a beginning within it that readers skip"),
        pytest.param(b"/X <a< endobj <b> " + HEX, id="hexadecimal of other bytes"),
        pytest.param(b"/A \x0b " + HEX, id="a vertical tab is no space"),
        pytest.param(HEX + b" /X >> /Y 1", id="a value that is the end"),
        pytest.param(b"/X [ >> endobj ] " + HEX, id="an element that is the end"),
        pytest.param(b"/X BI /W 1 ID >> endobj EI " + HEX, id="a picture within"),
        pytest.param(b"endobj " + HEX, id="a key that is no name"),
        pytest.param(b"/N 5 0 R /First 6 0 R /Filter 9 0 R", id="written elsewhere"),
        pytest.param(b"/Filter /FlateDecode " + HEX, id="said twice"),
        pytest.param(b"/" + b"a" * 1000 + b" 1 " + HEX, id="a long name"),
        pytest.param(b"/N 1 /First 4", id="no filter"),
    ],
)
def test_objects_of_lenient_readers_are_uninspectable(dictionary: bytes, step: int) -> None:
    assert inspect(PLAIN + stream(dictionary, (b"1 0 " + SCRIPT).hex().encode() + b">"), step).uninspectable


@pytest.mark.parametrize("between", [b" ", b"", b" %" + b"x" * 9000 + b"\r", b" % a\n % b\n\0"])
def test_a_stream_in_an_object_stream_is_uninspectable(between: bytes) -> None:
    inner = b"1 0 << /N 1 /First 4 /Filter /ASCIIHexDecode >>" + between + b"stream\n31>"
    assert inspect(PLAIN + stream(FLATE, zlib.compress(inner))).uninspectable


@pytest.mark.parametrize(
    "content",
    [
        b"%PDF-1.4\n" + b"1 0 obj << /A (" * 100_000,
        b"%PDF-1.4\n1 0 obj << " + b"/A >> " * 100_000,
        b"%PDF-1.4\n1 0 obj << /A " + b"[" * 100_000,
        b"%PDF-1.4\n1 0 obj << /A " + b"<< /B " * 100_000,
        b"%PDF-1.4\n" + b"obj<<" * 100_000,
    ],
)
def test_endless_structures_are_uninspectable(content: bytes) -> None:
    assert inspect(content).uninspectable


def test_the_work_for_a_document_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_dictionary, "MOST_IN_ALL", 1 << 16)
    assert inspect(PLAIN + b"1 0 obj << " + b"/A 1 " * 50_000).uninspectable
    monkeypatch.setattr(pdf_objects, "MOST_STREAMS", 100)
    assert inspect(PLAIN + b" stream\n x\x9c" * 200).uninspectable


def test_a_stream_that_begins_in_two_ways_is_uninspectable() -> None:
    both = zlib.compress(b"1 0 <<>>") + b"\n" + zlib.compress(b"1 0 " + SCRIPT)
    assert inspect(PLAIN + stream(FLATE, both, b" ")).uninspectable


def test_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_objects, "UNPACKED_LIMIT", 1 << 20)
    assert "unpack" in inspect(objects(bytes(32 << 20))).uninspectable


def test_too_many_nested_streams_are_uninspectable() -> None:
    begun = zlib.compress(b"1 0 " + noise_of(2, 500_000))[:40]
    assert inspect(
        PLAIN + b"".join(b"1 0 obj << /ObjStm /Filter /Fl >>\nstream\n" + begun for _ in range(20))
    ).uninspectable


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN + b"<< /JSomething 1 /EncryptMetadata true /Launched 1 >>",
        objects(b"<< /Type /Page >>"),
        objects(b"<< /Title (A stream of data) /Contents (the data\nstream of things) >>"),
        PLAIN + b"<< /OpenAction [3 0 R /FitH 800] /AA << /O << /S /GoTo /D [3 0 R /Fit] >> >> >>",
        PLAIN + b"<< /Subtype /Link /A << /S /URI /URI (http://x) >> >> << /Names << /EmbeddedFiles 5 0 R >> >>",
        PLAIN
        + b"5 0 obj << /First 6 0 R /Last 7 0 R /N 1 >> endobj "
        + stream(b"/N 3 /Filter /ASCIIHexDecode", b"00>"),
        PLAIN + b"5 0 obj << /W [" + b"12 " * 200_000 + b"] /X (" + b"y" * 300_000 + b") >> endobj\n",
        PLAIN + stream(b"/Type /ObjStm /N 0 /Filter /FlateDecode", zlib.compress(b"")),
        PLAIN + stream(FLATE + b" /DecodeParms << /Predictor 1 >>", zlib.compress(b"1 0 <<>>")),
        PLAIN + stream(b"/N 3 /Filter /ASCIIHexDecode", b"00ff>"),
        PLAIN + stream(b"/Resources << " + b"/Font 1 0 R " * 900 + b">> /Filter /LZWDecode", b"\x80\x0b\x60\x50"),
        PLAIN + stream(b"/Type /Metadata", b"a stream \nof words, /First and /N and /ObjStm\nstream \n" * 2000),
        objects(b"<< /Type /Page >>") + stream(b"/Filter /LZWDecode", b"\x80\x0b\x60\x50 obj ( <") * 40,
        PLAIN + stream(b"/Filter /DCTDecode", b"\xff\xd8\xff\xe0" + b"/JS /XFA "),
        PLAIN + stream(b"/Filter /FlateDecode", zlib.compress(noise_of(3, 300_000))),
    ],
)
def test_harmless_content_is_not_active(content: bytes) -> None:
    watch = inspect(content, 5000)
    assert (watch.active, watch.encrypted, watch.uninspectable) == (False, False, "")


def test_compressed_pictures_are_not_scripts() -> None:
    """Three letters come by chance every 16 MB: here they are put in, in a picture of random bytes."""
    noise = bytearray(noise_of(4, 4 << 20))
    for start in range(0, len(noise) - 8, 65_536):
        noise[start : start + 4] = (b"/JS(", b"/JS<", b"/JS ", b"/XFA")[start // 65_536 % 4]
    assert not inspect(PLAIN + stream(b"/Filter /DCTDecode", bytes(noise))).active


def test_the_corpus_is_not_active() -> None:
    path = CORPUS / "images/bad/duplicate_xref_entry.pdf"
    if not path.is_file():
        pytest.skip("the shared corpus is not beside the repository")
    assert not inspect(path.read_bytes()).active


@given(st.binary(max_size=3000), st.integers(1, 500))
def test_any_bytes_are_inspected(content: bytes, step: int) -> None:
    inspect(PLAIN + b"1 0 obj << /ObjStm /Filter >> stream\n" + content, step)


@given(st.integers(1, 400))
def test_pieces_of_any_size_give_the_same_findings(step: int) -> None:
    assert inspect(objects(b" " * 300 + SCRIPT), step).active
