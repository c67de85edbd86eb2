import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handlers.sniff import sniff

CORPUS = Path(__file__).parents[3] / "../shared/corpus"


def saved(image_format: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(out, image_format)
    return out.getvalue()


@pytest.mark.parametrize(
    ("image_format", "mime"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("TIFF", "image/tiff"),
        ("AVIF", "image/avif"),
        ("BMP", "image/bmp"),
        ("JPEG2000", "image/jp2"),
        ("ICO", "image/x-icon"),
        ("PDF", "application/pdf"),
        ("DDS", "image/vnd-ms.dds"),
    ],
)
def test_files_of_encoders_are_recognized(image_format: str, mime: str) -> None:
    assert sniff(saved(image_format)) == mime


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "image/heic"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", "image/avif"),
        (b"\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00miaf", "image/heif"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "image/heic"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41", "video/mp4"),
        (b"\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00qt  ", "video/quicktime"),
        (b"\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", "video/quicktime"),
        (b"\x00\x00\x00\x18ftypM4A \x00\x00\x02\x00M4A isom", "audio/mp4"),
        (b"\x00\x00\x00\x18ftyp3gp4\x00\x00\x02\x003gp4isom", "video/3gpp"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\x82\x84webm", "video/webm"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\x82\x88matroska", "video/x-matroska"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "video/x-msvideo"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"OggS\x00\x02" + bytes(22) + b"\x01\x1e\x01vorbis", "audio/ogg"),
        (b"OggS\x00\x02" + bytes(22) + b"\x01\x2a\x80theora", "video/ogg"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "audio/wav"),
        (b"#!AMR-WB\n", "audio/amr"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (bytes(1000) + b"\xff\xfb\x90\x64", "audio/mpeg"),
        (bytes(7) + b"ID3\x03", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        ((b"\x47" + bytes(187)) * 3, "video/mp2t"),
        (b"\1" * 100 + (b"\x47" + bytes(187)) * 6, "video/mp2t"),
        (b"\1" * 100 + (b"\x47" + bytes(191)) * 6, "video/mp2t"),
        (b"\1" * 100 + (b"\xff\xfb\x90\x64" + bytes(413)) * 3, "audio/mpeg"),
        (b"\1" * 100 + (b"\xff\xf3\x40\xc4" + bytes(100)) * 3, "audio/mpeg"),
        (b"\1" * 100 + (b"\xff\xf1\x50\x80\x10\x00" + bytes(122)) * 3, "audio/aac"),
        (b'<?xml version="1.0"?>\n<!-- a -->\n<svg xmlns="http://www.w3.org/2000/svg">', "image/svg+xml"),
        (b"<svg>", "image/svg+xml"),
        (b"\r\n \0%PDF-1.7\n", "application/pdf"),
        (b"junk before\n%PDF-1.7\n", "application/pdf"),
        (b"------boundary\r\nContent-Type: application/pdf\r\n\r\n%PDF-1.7\n", "application/pdf"),
        (b"\0\x09paper.pdf" + bytes(117) + b"%PDF-1.7\n", "application/pdf"),
        (b"%\xe2\xe3\xcf\xd3\n1 0 obj\n<<", "application/pdf"),
        (b"\xef\xbb\xbf%PDF-1.7\n", "application/pdf"),
        (b"\x1b%-12345X@PJL JOB\r\n@PJL SET DUPLEX=ON\r\n%PDF-1.7\n", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
    ],
)
def test_signatures_are_recognized(head: bytes, mime: str) -> None:
    assert sniff(head) == mime


@pytest.mark.parametrize(
    "head",
    [
        b"\1" * 100 + (b"\xff\xfb\x90\x64" + bytes(413)) * 2,
        b"\1" * 2048 + (b"\xff\xfb\x90\x64" + bytes(413)) * 3,
        b"\1" * 100 + (b"\x47" + bytes(187)) * 5,
        b"MZ" + bytes(500) + b"%PDF-1.7\n",
        b"/*%PDF-1.4*/ WScript.Echo(1)",
        b"<html><script>1</script>%PDF-1.4",
        b"junk before %PDF-1.7\n",
        b"junk\0before\n%PDF-1.7\n",
        b"x" * 1024 + b"\n%PDF-1.7\n",
        b"",
        b"hello world",
        b"BM is how this text begins",
        b"<html><body>",
        b"\xff\xfe\x00\x00text",
        bytes(4096),
    ],
)
def test_ambiguous_bytes_have_no_type(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real files is not beside the repository")
@pytest.mark.parametrize(
    ("folder", "kinds"),
    [("images/good", ("image/",)), ("images/orientation", ("image/jpeg",)), ("media", ("video/", "audio/"))],
)
def test_every_real_file_has_its_type(folder: str, kinds: tuple[str, ...]) -> None:
    unknown = [
        f.name
        for f in (CORPUS / folder).iterdir()
        if f.is_file() and f.suffix != ".m3u8" and not (sniff(f.read_bytes()[:4096]) or "").startswith(kinds)
    ]
    assert not unknown


@given(st.binary(max_size=600))
def test_any_bytes_have_an_answer(head: bytes) -> None:
    assert sniff(head) is None or "/" in (sniff(head) or "")
