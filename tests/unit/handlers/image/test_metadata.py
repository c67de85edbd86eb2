"""Damaged metadata, and a missing end, cost no picture."""

import struct
from io import BytesIO

import pytest
from PIL import Image

from media.errors import RejectedError
from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.pictures import difference, opened, quarters, saved

JPEG = saved(quarters(), "JPEG")
TIFF_HEAD = b"MM\0*\0\0\0\x08"


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">2BH", 0xFF, marker, len(content) + 2) + content


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(segment(0xE0, b"JFIF"), id="JFIF of a name"),
        pytest.param(segment(0xE0, b"JFIF\0\1"), id="short JFIF"),
        pytest.param(segment(0xEE, b"Adobe"), id="Adobe of a name"),
        pytest.param(segment(0xEE, b"Adobe\0"), id="short Adobe"),
        pytest.param(segment(0xE1, b"Exif\0\0"), id="empty Exif"),
        pytest.param(segment(0xE1, b"Exif\0\0MM"), id="short Exif"),
        pytest.param(segment(0xE1, b"Exif\0\0" + TIFF_HEAD + b"\xff\xff"), id="Exif of 65,535 tags"),
        pytest.param(segment(0xE2, b"ICC_PROFILE\0"), id="profile without a number"),
        pytest.param(segment(0xE2, b"MPF\0"), id="empty list of pictures"),
        pytest.param(segment(0xED, b"Photoshop 3.0\x008BIM\4"), id="short Photoshop"),
        pytest.param(segment(0xFE, b""), id="empty comment"),
    ],
)
async def test_short_segments_of_a_jpeg_cost_nothing(metadata: bytes, render: Render) -> None:
    assert difference(opened(await render(JPEG[:2] + metadata + JPEG[2:])), quarters()) < 6


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
@pytest.mark.parametrize("exif", [b"", b"\0", b"Exif\0\0", b"\xff" * 12, TIFF_HEAD + b"\xff" * 8])
async def test_bad_exif_of_an_avif_or_heic_costs_nothing(kind: str, exif: bytes, render: Render) -> None:
    good = Image.Exif()
    good[0x0131] = "software" * 9
    stored = good.tobytes()
    source = saved(quarters(), kind, exif=stored)
    at = source.index(stored[6:])
    damaged = source[:at] + exif.ljust(len(stored) - 6, b"\0") + source[at + len(stored) - 6 :]
    assert difference(opened(await render(damaged)), quarters()) < 6


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}], ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
async def test_jpeg_without_its_end_is_whole(mode: str, options: dict[str, object], render: Render) -> None:
    source = saved(quarters().convert(mode), "JPEG", **options)
    assert difference(opened(await render(source[:-2])), opened(await render(source))) == 0
    with pytest.raises(RejectedError, match="corrupt"):
        await render(source[:-12])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
async def test_picture_without_its_end_is_whole(kind: str, render: Render) -> None:
    source = saved(quarters().quantize(8), kind)
    end = {"PNG": 12, "GIF": 1}[kind]
    assert difference(opened(await render(source[:-end])), quarters()) < 8


async def test_animation_without_its_end_is_whole(render: Render) -> None:
    target = BytesIO()
    quarters().save(target, "PNG", save_all=True, append_images=[quarters().rotate(180)])
    assert (await render(target.getvalue()[:-12])).notes == ("animated: 2 frames",)
