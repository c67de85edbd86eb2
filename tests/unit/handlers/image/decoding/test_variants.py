"""Variants of formats that nobody here reads are named, not called corrupt."""

import struct

import pytest

from media.errors import Code, RejectedError
from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.pictures import difference, opened, quarters, saved

JPEG = saved(quarters(), "JPEG")
_FRAME = JPEG.index(b"\xff\xc0")


def jpeg_with(marker: int, bits: int = 8, components: int = 3) -> bytes:
    data = bytearray(JPEG)
    data[_FRAME + 1], data[_FRAME + 4], data[_FRAME + 9] = marker, bits, components
    return bytes(data)


def heif(brands: bytes, coding: bytes = b"") -> bytes:
    """A HEIF with one item of this coding, as far as its head."""
    item = box(b"infe", b"\2\0\0\0\0\1\0\0" + coding + b"\0") if coding else b""
    meta = box(b"meta", bytes(4) + box(b"iinf", struct.pack(">IH", 0, 1) + item))
    return box(b"ftyp", brands) + meta


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + name + content


def bitmap(bits: int, compression: int, alpha: int = 0) -> bytes:
    """The headers of a bitmap."""
    info = struct.pack("<3I2H6I", 124, 9, 7, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + bytes(12) + info + struct.pack("<4I", 0, 0, 0, alpha) + bytes(900)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        pytest.param(bitmap(4, 2), "runs of 4 bits", id="runs of 4 bits"),
        pytest.param(bitmap(16, 3, 0x8000), "16 bits with alpha", id="alpha of a bit"),
        pytest.param(bitmap(32, 0, 0xFF000000), "32 bits with alpha", id="alpha without its mask"),
        pytest.param(jpeg_with(0xC1, bits=12), "12 bits", id="12 bits"),
        pytest.param(jpeg_with(0xC3, bits=16), "lossless JPEG of 16 bits", id="lossless"),
        pytest.param(jpeg_with(0xF7), "JPEG-LS", id="JPEG-LS"),
        pytest.param(jpeg_with(0xC5), "hierarchical", id="hierarchical"),
        pytest.param(jpeg_with(0xC0, components=2), "2 components", id="two components"),
        pytest.param(heif(b"mif1\0\0\0\0mif1miaf", b"unci"), "uncompressed", id="uncompressed HEIF"),
        pytest.param(heif(b"j2ki\0\0\0\0mif1j2ki", b"j2k1"), "JPEG 2000", id="JPEG 2000 in HEIF"),
        pytest.param(heif(b"vvic\0\0\0\0mif1vvic", b"vvc1"), "VVC", id="VVC"),
        pytest.param(heif(b"avif\0\0\0\0avifmif1", b"hvc1"), "HEVC", id="HEVC that says AVIF"),
        pytest.param(box(b"ftyp", b"mif3avif") + box(b"mini", bytes(40)), "mini", id="mini AVIF"),
        pytest.param(b"MM\0+\0\x08\0\0" + bytes(60), "big-endian BigTIFF", id="BigTIFF"),
        pytest.param(bytes(128) + b"DICM" + bytes(60), "application/dicom", id="DICOM"),
        pytest.param(b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjph ", "image/jp2", id="JPEG 2000"),
        pytest.param(b"\xff\x4f\xff\x51" + bytes(60), "image/j2c", id="codestream"),
        pytest.param(b"\xff\x0a" + bytes(60), "image/jxl", id="JPEG XL"),
        pytest.param(b"II\xbc\x01" + bytes(60), "image/jxr", id="JPEG XR"),
    ],
)
async def test_variant_is_unsupported_by_its_name(source: bytes, name: str, render: Render) -> None:
    with pytest.raises(RejectedError, match=name) as refused:
        await render(source)
    assert refused.value.code is Code.UNSUPPORTED


async def test_bitmap_is_rendered(render: Render) -> None:
    rendered = await render(saved(quarters(), "BMP"))
    assert rendered.content_type == "image/bmp"
    assert difference(opened(rendered), quarters()) < 6
