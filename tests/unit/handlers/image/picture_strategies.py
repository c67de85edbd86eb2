"""Hypothesis strategies for pictures that are damaged, have false headers, or are valid and unusual."""

import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from handlers.image.color.profiles import SRGB, Curve, profile_of
from tests.unit.handlers.image.pictures import quarters, saved
from tests.unit.handlers.image.pngs import SIGNATURE, apng, chunk
from tests.unit.handlers.image.tiffs import Layout, tiff_of

PICTURE = quarters((48, 32))
TURNED = [PICTURE.rotate(90), PICTURE.rotate(180)]
MOVING = {"save_all": True, "append_images": TURNED, "duration": [40, 90, 2000]}
LINEAR = profile_of(SRGB, Curve(1.0), gray=False)
SEEDS = [
    saved(PICTURE, "JPEG"),
    saved(PICTURE, "JPEG", icc_profile=LINEAR, xmp=b"<x tiff:Orientation='6'/>"),
    saved(PICTURE.convert("RGBA"), "PNG"),
    saved(PICTURE.quantize(8), "PNG", transparency=0, icc_profile=LINEAR),
    saved(Image.fromarray((np.arange(600).reshape(20, 30) * 100).astype("<u2")), "PNG", transparency=500),
    saved(PICTURE, "WEBP"),
    saved(PICTURE, "WEBP", **MOVING),
    saved(PICTURE, "GIF"),
    saved(PICTURE, "GIF", **MOVING),
    saved(PICTURE, "TIFF", compression="tiff_lzw", icc_profile=LINEAR),
    saved(PICTURE, "TIFF", save_all=True, append_images=TURNED),
    saved(Image.fromarray(np.linspace(-1, 9, 600, dtype=np.float32).reshape(20, 30)), "TIFF"),
    saved(PICTURE, "BMP"),
    saved(PICTURE, "HEIF"),
    saved(PICTURE, "AVIF", speed=10),
    saved(PICTURE, "AVIF", speed=10, **MOVING),
    apng((20, 20), 3),
]
PNG_PIXELS = [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (2, 3), (8, 3), (8, 4), (16, 4), (8, 6)]
"""Depths and color types."""
NUMBERS = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\1",
    b"\1\0\0\0",
    b"\0\0\xff\xff",
    b"\xff\xff\0\0",
]
WORDS = [b"transparency", b"icc_profile", b"duration", b"loop", b"gamma", b"chromaticity", b"xmp", b"exif", b"bbox"]
"""Names that Pillow uses for metadata; a text chunk of the same name replaces them."""

MEANINGS: list[tuple[int, int, list[int]]] = [
    (1, 0, []),
    (1, 1, []),
    (1, 3, []),
    (2, 1, [2]),
    (3, 2, []),
    (4, 2, [1]),
    (4, 5, []),
    (3, 6, []),
    (3, 8, []),
]
"""Samples of a pixel, the photometric interpretation, and the kinds of extra samples."""
MEANINGLESS = st.tuples(st.integers(1, 5), st.integers(0, 9), st.lists(st.integers(0, 3), max_size=3))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real picture with a few bytes changed, and perhaps cut or with something appended."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    end = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    return bytes(data[:end]) + draw(st.binary(max_size=40))


@st.composite
def restructured(draw: st.DrawFn) -> bytes:
    """A real picture whose headers hold other numbers, or hold them twice or never; a PNG's checksums are right."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(8, min(len(data), 800) - 1))
        match draw(st.sampled_from(["byte", "number", "cut", "twice"])):
            case "byte":
                data[at] = draw(st.integers(0, 255))
            case "number":
                data[at : at + 4] = draw(st.sampled_from(NUMBERS))
            case "cut":
                del data[at : at + draw(st.integers(1, 20))]
            case _:
                data[at:at] = data[max(0, at - draw(st.integers(1, 30))) : at]
    return sealed(bytes(data))


def sealed(data: bytes) -> bytes:
    """Return a PNG with correct checksums; other data as they are."""
    if not data.startswith(SIGNATURE):
        return data
    made, at = SIGNATURE, 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        made += chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return made


@st.composite
def strange_png(draw: st.DrawFn) -> bytes:
    """A PNG of valid chunks in unusual places and with unusual contents."""
    depth, color = draw(st.sampled_from(PNG_PIXELS))
    more = b"".join(draw(st.lists(ancillary(), max_size=4)))
    head = chunk(b"IHDR", struct.pack(">2I5B", 9, 7, depth, color, 0, 0, 0))
    behind = b"".join(draw(st.lists(ancillary(), max_size=1)))
    return SIGNATURE + head + more + chunk(b"IDAT", png_rows(depth, color, 1)) + behind + chunk(b"IEND", b"")


@st.composite
def strange_apng(draw: st.DrawFn) -> bytes:
    """An animation whose frames have unusual durations, places, blending and disposal."""
    depth, color = draw(st.sampled_from(PNG_PIXELS))
    frames = draw(st.integers(1, 4))
    told = draw(st.one_of(st.just(frames), st.sampled_from([1, 200]))), draw(st.integers(0, 2**32 - 1))
    made = chunk(b"IHDR", struct.pack(">2I5B", 9, 7, depth, color, 0, 0, 0)) + chunk(b"PLTE", bytes(range(12)))
    made += chunk(b"acTL", struct.pack(">2I", *told))
    number = 0
    for index in range(frames):
        if index or draw(st.booleans()):
            made += chunk(b"fcTL", struct.pack(">I", number) + draw(frame_control()))
            number += 1
        rows = png_rows(depth, color, index)
        made += chunk(b"fdAT", struct.pack(">I", number) + rows) if index else chunk(b"IDAT", rows)
        number += bool(index)
    return SIGNATURE + made + chunk(b"IEND", b"")


def png_rows(depth: int, color: int, filling: int) -> bytes:
    """The compressed rows of 9 × 7 pixels."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    return zlib.compress((b"\0" + bytes([0x5A * filling % 256]) * ((9 * depth * samples + 7) // 8)) * 7)


def frame_control() -> st.SearchStrategy[bytes]:
    part = st.one_of(st.sampled_from([0, 1, 65_535]), st.integers(0, 65_535))
    fields = st.tuples(
        st.sampled_from([(9, 7, 0, 0), (9, 7, 0, 0), (9, 7, 0, 0), (4, 3, 5, 4), (0, 0, 0, 0), (4, 3, 200, 0)]),
        part,
        part,
        st.integers(0, 3),
        st.integers(0, 2),
    )
    return fields.map(lambda f: struct.pack(">4I2H2B", *f[0], *f[1:]))


def ancillary() -> st.SearchStrategy[bytes]:
    content = st.one_of(st.binary(max_size=40), st.sampled_from([bytes(32), b"\xff" * 32, bytes([12, 13, 0, 1])]))
    names = st.sampled_from([b"tRNS", b"PLTE", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"eXIf", b"pHYs", b"bKGD", b"sBIT"])
    profile = st.binary(max_size=6).map(
        lambda cut: chunk(b"iCCP", b"x\0\0" + zlib.compress(LINEAR[:300] + cut + LINEAR[300:]))
    )
    words = st.tuples(st.sampled_from(WORDS), st.binary(max_size=20)).map(lambda t: chunk(b"tEXt", t[0] + b"\0" + t[1]))
    return st.one_of(st.tuples(names, content).map(lambda t: chunk(*t)), profile, words)


@st.composite
def strange_tiff(draw: st.DrawFn) -> bytes:
    """A TIFF with samples of any size, kind and meaning, NaN included, in a valid directory with unusual tags."""
    samples, photometric, extra = draw(st.one_of(st.sampled_from(MEANINGS), MEANINGLESS))
    layout = Layout(
        bits=draw(st.sampled_from([8, 16, 32] if samples == 1 else [8, 16]) | st.sampled_from([1, 4, 12, 64])),
        samples=samples,
        photometric=photometric,
        sample_format=draw(st.integers(1, 3)),
        compression=draw(st.sampled_from([1, 8])),
        planes=draw(st.integers(1, 2)),
        extra=tuple(extra),
        big=draw(st.booleans()),
    )
    real = layout.sample_format == 3 and layout.bits >= 16
    values = [0.0, 1.0, -1.0, 250.0, *([float("nan"), float("inf"), -3e38] if real else [])]
    values = values if layout.bits >= 16 else [0.0, 1.0]
    each = draw(st.lists(st.sampled_from(values), min_size=4, max_size=4))
    pixels = np.resize(np.array(each), (7, 9, layout.samples))
    odd = st.tuples(st.sampled_from([254, 255, 266, 274, 281, 317, 320, 34675, 700]), st.just(3), st.just((0,)))
    more = {tag: (tag, kind, (draw(st.integers(0, 65_535)),)) for tag, kind, _ in draw(st.lists(odd, max_size=3))}
    with np.errstate(all="ignore"):
        return tiff_of(
            pixels.astype(float),
            layout if real or layout.sample_format < 3 else layout_of_bytes(layout),
            *more.values(),
        )


def layout_of_bytes(layout: Layout) -> Layout:
    """Return the layout with bytes for samples: there are no floats of fewer than 16 bits."""
    return Layout(8, layout.samples, layout.photometric, 1, layout.compression, layout.planes, layout.extra, layout.big)


KINDS = {
    "any bytes": st.binary(max_size=300),
    "damaged": damaged(),
    "restructured": restructured(),
    "strange PNG": strange_png(),
    "strange APNG": strange_apng(),
    "strange TIFF": strange_tiff(),
}
