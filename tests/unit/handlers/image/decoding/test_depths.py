"""Numbers that depend on the depth: each layout's ramp, beside what libvips or arithmetic says."""

import struct
import zlib
from itertools import product

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image

from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.pictures import gradient, opened, saved
from tests.unit.handlers.image.pngs import SIGNATURE, chunk
from tests.unit.handlers.image.tiffs import DEFLATE, RAW, SHORT, Layout, tiff_of

SIZE = 64, 12
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
LAYOUTS = [
    *product((1, 2, 4, 8, 16), (GRAY,)),
    *product((8, 16), (RGB, GRAY_ALPHA, RGBA)),
    *product((1, 2, 4, 8), (PALETTE,)),
]


def png_ramp(depth: int, color: int, *, keyed: bool, sbit: bool) -> bytes:
    """A ramp of every value, or as many as fit; the key is a value in its middle."""
    width, height = SIZE
    top = (1 << depth) - 1
    ramp = np.round(np.linspace(0, top, width)).astype(int)
    key = int(ramp[width // 2])
    bands = [ramp] * SAMPLES[color]
    if color in {GRAY_ALPHA, RGBA}:
        bands[-1] = ramp[::-1]
    row = np.stack(bands, 1).ravel()
    bits = "".join(f"{value:0{depth}b}" for value in row)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    more = chunk(b"sBIT", bytes([min(depth, 8)] * SAMPLES[color])) if sbit else b""
    if color == PALETTE:
        entries = np.linspace(0, 255, top + 1).round().astype(np.uint8)
        more += chunk(b"PLTE", np.stack([entries, entries[::-1], entries], 1).tobytes())
    if keyed:
        more += chunk(
            b"tRNS", bytes([255] * key + [0]) if color == PALETTE else struct.pack(">H", key) * SAMPLES[color]
        )
    more += chunk(b"bKGD", bytes([0]) if color == PALETTE else bytes(2 * (3 if color in {RGB, RGBA} else 1)))
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, color, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress((b"\0" + packed) * height))
    return SIGNATURE + header + more + data + chunk(b"IEND", b"")


def by_libvips(source: bytes) -> NDArray[np.float64]:
    """RGBA, 0 to 255."""
    image = pyvips.Image.pngload_buffer(source)
    values: NDArray[np.float64] = image.numpy().astype(float).reshape(image.height, image.width, -1)
    values = values / 257 if image.format == "ushort" else values
    color, alpha = values, np.full((*values.shape[:2], 1), 255.0)
    if values.shape[2] in {2, 4}:
        color, alpha = values[..., :-1], values[..., -1:]
    return np.concatenate([np.broadcast_to(color, (*color.shape[:2], 3)), alpha], 2)


@pytest.mark.parametrize("sbit", [False, True])
@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize(("depth", "color"), LAYOUTS)
async def test_png_of_every_depth_is_what_libvips_says(
    depth: int, color: int, keyed: bool, sbit: bool, render: Render
) -> None:
    source = png_ramp(depth, color, keyed=keyed and color not in {GRAY_ALPHA, RGBA}, sbit=sbit)
    seen = np.asarray(opened(await render(source)).convert("RGBA"), dtype=float)
    expected = by_libvips(source)
    assert np.abs(seen[..., 3] - expected[..., 3]).max() <= 1
    visible = expected[..., 3] > 16
    assert np.abs(seen - expected)[visible].max() <= 8


@pytest.mark.parametrize("scale", [1, 257], ids=["8-bit values", "16-bit values"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("bits", "compression"), product((1, 2, 4, 8), (RAW, DEFLATE)))
async def test_palette_of_a_tiff_may_have_values_of_8_or_16_bits(
    bits: int, compression: int, big: bool, scale: int, render: Render
) -> None:
    top = (1 << bits) - 1
    entries = np.linspace(0, 255, top + 1).round().astype(int)
    palette = (320, SHORT, tuple(int(value) * scale for value in (*entries, *entries[::-1], *entries)))
    indices = np.round(gradient(SIZE) * top)
    source = tiff_of(indices, Layout(bits, photometric=3, compression=compression, big=big), palette)
    seen = np.asarray(opened(await render(source)).convert("RGB"), dtype=float)
    expected = entries[indices.astype(int)]
    assert np.abs(seen - np.stack([expected, 255 - expected, expected], 2)).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
async def test_bitmap_of_every_depth_is_what_was_stored(mode: str, render: Render) -> None:
    ramp = Image.fromarray((gradient(SIZE) * 255).astype(np.uint8))
    stored = ramp.convert("RGBA" if mode == "RGBA" else "RGB" if mode in {"RGB", "P"} else mode)
    stored = stored.quantize(16) if mode == "P" else stored
    target = await render(saved(stored, "BMP"))
    seen = np.asarray(opened(target).convert("RGB"), dtype=float)
    assert np.abs(seen - np.asarray(stored.convert("RGB"), dtype=float)).max() <= 1
