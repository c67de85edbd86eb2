"""Generated pictures of every mode are rendered, and their colors compared."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.pictures import difference, gradient, numbers, opened, quarters, saved
from tests.unit.handlers.image.pngs import SIGNATURE, chunk

ORIENTATION = 0x0112
TURNS = [
    (2, Image.Transpose.FLIP_LEFT_RIGHT),
    (3, Image.Transpose.ROTATE_180),
    (4, Image.Transpose.FLIP_TOP_BOTTOM),
    (5, Image.Transpose.TRANSPOSE),
    (6, Image.Transpose.ROTATE_90),
    (7, Image.Transpose.TRANSVERSE),
    (8, Image.Transpose.ROTATE_270),
]
"""Each orientation, and how the stored picture comes about from the upright one."""


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    return exif


def xmp_of(orientation: int, quote: str = '"') -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation={quote}{orientation}{quote}/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(("orientation", "turn"), TURNS)
async def test_exif_orientation_is_applied(
    image_format: str, orientation: int, turn: Image.Transpose, render: Render
) -> None:
    options = {"tiffinfo": {ORIENTATION: orientation}} if image_format == "TIFF" else {"exif": exif_of(orientation)}
    rendered = await render(saved(quarters().transpose(turn), image_format, **options))
    assert (rendered.width, rendered.height) == (240, 160)
    assert difference(opened(rendered), quarters()) < 6


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
async def test_orientation_that_only_xmp_tells_is_applied(image_format: str, quote: str, render: Render) -> None:
    stored = quarters().transpose(Image.Transpose.ROTATE_90)
    if image_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp_of(6, quote).decode())
        source = saved(stored, "PNG", pnginfo=text)
    else:
        source = saved(stored, image_format, xmp=xmp_of(6, quote))
    rendered = await render(source)
    assert (rendered.width, rendered.height) == (240, 160)
    assert difference(opened(rendered), quarters()) < 6


async def test_a_turned_photo_that_is_decoded_at_reduced_scale_keeps_its_shape(render: Render) -> None:
    source = quarters((6001, 4003)).transpose(Image.Transpose.ROTATE_90)
    rendered = await render(saved(source, "JPEG", exif=exif_of(6)))
    assert (rendered.width, rendered.height) == (6001, 4003)
    assert [(f.name, f.width, f.height) for f in rendered.files][-1] == ("w1920", 1920, 1281)
    assert difference(opened(rendered), quarters((6001, 4003))) < 6


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F", "F unit", "float negative"])
async def test_deep_grays_keep_their_range(mode: str, render: Render) -> None:
    unit = gradient()
    depth = {
        "I;16": (unit * 65535).astype("<u2"),
        "I;16B": (unit * 65535).astype(">u2"),
        "I": (unit * 65535).astype(np.int32),
        "F": (unit * 1e6).astype(np.float32),
        "F unit": unit.astype(np.float32),
        "float negative": (unit - 0.001).astype(np.float32),
    }
    rendered = await render(saved(Image.fromarray(depth[mode]), "TIFF"))
    assert np.abs(numbers(opened(rendered))[:, :, 0] - unit * 255).mean() < 2


async def test_sixteen_bit_png_is_not_white(render: Render) -> None:
    rendered = await render(saved(Image.fromarray((gradient() * 65535).astype("<u2")), "PNG"))
    assert np.abs(numbers(opened(rendered))[:, :, 0] - gradient() * 255).mean() < 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
async def test_every_mode_keeps_its_colors(mode: str, render: Render) -> None:
    source = quarters().quantize(16) if mode == "P" else quarters().convert(mode)
    rendered = await render(saved(source, "TIFF" if mode == "CMYK" else "PNG"))
    assert difference(opened(rendered), source.convert("RGB")) < 6


async def test_lab_is_converted(render: Render) -> None:
    lab = ImageCms.profileToProfile(
        quarters(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab
    rendered = await render(saved(lab, "TIFF"))
    assert difference(opened(rendered), quarters()) < 8


@pytest.mark.parametrize("kind", ["palette", "color key", "gray and alpha"])
async def test_transparency_is_kept(kind: str, render: Render) -> None:
    if kind == "gray and alpha":
        source = saved(
            Image.merge("LA", (Image.new("L", (40, 40), 90), Image.linear_gradient("L").resize((40, 40)))), "PNG"
        )
    else:
        picture = quarters((40, 40))
        palette = picture.quantize(8)
        key: int | tuple[int, int, int] = int(np.asarray(palette)[0, 0]) if kind == "palette" else (220, 30, 30)
        source = saved(palette if kind == "palette" else picture, "PNG", transparency=key)
    image = opened(await render(source))
    assert image.mode == "RGBA"
    assert image.getpixel((3, 3))[3] < 30  # type: ignore[index] # RGBA pixels are tuples
    assert image.getpixel((36, 36))[3] > 220  # type: ignore[index] # as above


@pytest.mark.parametrize("colors", ["gray", "color"])
async def test_a_color_key_of_sixteen_bits_is_kept(colors: str, render: Render) -> None:
    depth = (gradient((64, 64)) * 65535).astype(">u2")
    if colors == "gray":
        key, stored, kind = struct.pack(">H", 0), depth, 0
    else:
        key = struct.pack(">3H", 0, 30_000, 50_000)
        stored, kind = np.stack([depth, np.full_like(depth, 30_000), np.full_like(depth, 50_000)], 2).astype(">u2"), 2
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    head = chunk(b"IHDR", struct.pack(">2I5B", 64, 64, 16, kind, 0, 0, 0)) + chunk(b"tRNS", key)
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    seen = np.asarray(opened(await render(data)).convert("RGBA"))
    assert seen[:, 0, 3].max() < 30
    assert seen[:, 3:, 3].min() > 220
    assert np.abs(seen[:, 3:, 0].astype(float) - depth[:, 3:] / 257).mean() < 4


@pytest.mark.parametrize("size", [(64, 64), (600, 500)])
async def test_a_color_that_differs_from_the_key_in_its_lower_bytes_stays(
    size: tuple[int, int], render: Render
) -> None:
    """Columns of colors whose upper bytes are the key's, or whose lower ones are."""
    colors = [(0x1234, 0x5678, 0x9ABC), (0x1235, 0x5678, 0x9ABC), (0x1334, 0x5678, 0x9ABC), (0x12FF, 0x56FF, 0x9AFF)]
    width, height = size
    row = np.repeat(np.array(colors, ">u2"), width // 4, axis=0).tobytes()
    head = chunk(b"IHDR", struct.pack(">2I5B", *size, 16, 2, 0, 0, 0)) + chunk(b"tRNS", struct.pack(">3H", *colors[0]))
    data = SIGNATURE + head + chunk(b"IDAT", zlib.compress((b"\0" + row) * height)) + chunk(b"IEND", b"")
    alpha = np.asarray(opened(await render(data)).convert("RGBA"))[..., 3]
    step = alpha.shape[1] // 4
    assert alpha[:, : step - 2].max() < 8
    assert alpha[:, step + 2 :].min() > 247


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16"])
async def test_text_chunk_named_transparency_is_ignored(mode: str, render: Render) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("transparency", "of the thesis")
    gray = Image.fromarray((gradient() * 65535).astype("<u2")) if mode == "I;16" else quarters().convert(mode)
    assert opened(await render(saved(gray, "PNG", pnginfo=text))).mode == "RGB"


async def test_hidden_colors_do_not_bleed_into_visible_ones(render: Render) -> None:
    """Stripes of opaque green and invisible red: without premultiplication the result is brown."""
    pixels = np.zeros((600, 600, 4), np.uint8)
    pixels[:, ::2] = (0, 200, 0, 255)
    pixels[:, 1::2] = (255, 0, 0, 0)
    image = opened(await render(saved(Image.fromarray(pixels), "PNG")), 0)
    red, green, _, alpha = (int(v) for v in np.asarray(image)[75, 75])
    assert red < 20
    assert green > 180
    assert 100 < alpha < 156


async def test_unused_alpha_channel_is_dropped(render: Render) -> None:
    assert opened(await render(saved(quarters().convert("RGBA"), "PNG"))).mode == "RGB"


async def test_an_inverted_cmyk_jpeg_is_not_a_negative(render: Render) -> None:
    rendered = await render(saved(quarters().convert("CMYK"), "JPEG"))
    assert difference(opened(rendered), quarters()) < 12


async def test_gps_and_all_other_metadata_are_gone(render: Render) -> None:
    rendered = await render(saved(quarters(), "JPEG", exif=exif_of(1), xmp=xmp_of(1), comment=b"made by somebody"))
    for file in rendered.files:
        content = file.path.read_bytes()
        assert not [chunk for chunk in (b"EXIF", b"XMP ", b"ICCP", b"somebody") if chunk in content]


async def test_a_picture_taller_than_webp_allows_is_made_to_fit(render: Render) -> None:
    rendered = await render(saved(Image.new("L", (400, 20_000), 77), "PNG"))
    assert [(f.name, f.width, f.height) for f in rendered.files] == [
        ("w150", 150, 7500),
        ("w320", 320, 16000),
        ("w640", 327, 16350),
    ]
    assert (rendered.width, rendered.height) == (400, 20_000)
