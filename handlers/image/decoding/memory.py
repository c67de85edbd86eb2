"""Estimates what rendering a picture takes at its peak, from its header alone: admission depends on it.

The numbers are measured, at 12, 48 and 98 megapixels, as the largest resident size of a child, and rounded up by less
than a tenth.
"""

import os
from pathlib import Path

from PIL import ImageFile, JpegImagePlugin

from handlers.image.containers import isobmff
from handlers.image.decoding.source import HEADROOM, JPEGS
from handlers.image.geometry import Size

BASE = 96 * 1024 * 1024
"""The interpreter, the decoders, libvips, small buffers."""
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes of a pixel as Pillow holds it; four in every other mode."""
_CONVERTED = {
    "1": 3.2,
    "L": 2.2,
    "P": 4.5,
    "PA": 8.5,
    "LA": 8.5,
    "RGB": 7.5,
    "RGBA": 8.5,
    "CMYK": 8.5,
    "LAB": 6.0,
    "I;16": 11.2,
    "I;16L": 11.2,
    "I;16B": 11.2,
    "I;16N": 11.2,
    "I": 13.2,
    "F": 9.2,
}
"""Bytes of a pixel while it is brought to what libvips takes, the stored ones included."""
_KEYED, _KEYED_PALETTE = 19.0, 5.6
"""As above, where one value stands for transparent."""
_WEBP, _HEIF_DEPTH = 12.5, 8
_MOVING = 27
"""Bytes of a pixel of an animation's frame: canvases, the frame before, conversions."""
_OPAQUE, _WITH_ALPHA = 16, 36
"""Bytes of a pixel of the largest rendition while it and the next are encoded."""
_DEEP, _SAMPLING = 0x40, 0x0C
_COLOURS = {0x00: 2.0, 0x04: 1.0, 0x08: 1.0, 0x0C: 0.5}
"""Samples of a pixel beside its luma, by the bits that say which sides are halved."""
_AV1 = b"\x81"
"""What a decoder's configuration begins with."""


def peak_memory(image: ImageFile.ImageFile, largest: Size, *, moving: int = 0, scans: int = 1) -> int:
    """Bytes. `moving` is the number of frames of what stays an animation, `scans` that of a JPEG.

    The file itself, which some decoders hold, is not counted.
    """
    pixels, area = image.width * image.height, largest[0] * largest[1]
    if moving:
        return BASE + _MOVING * pixels + (13 * moving + 50) * area
    encoding = (_WITH_ALPHA if _has_alpha(image) else _OPAQUE) * area
    if image.format in JPEGS:
        return BASE + _jpeg(image, largest, scans) + encoding
    stored = _STORED.get(image.mode, 4)
    return BASE + max(round(_decoding(image, stored) * pixels), stored * pixels + encoding)


def _has_alpha(image: ImageFile.ImageFile) -> bool:
    return image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info


def _decoding(image: ImageFile.ImageFile, stored: int) -> float:
    """Bytes of a pixel while a picture is decoded and converted."""
    alpha = _has_alpha(image)
    match image.format:
        case "WEBP":
            return _WEBP
        case "AVIF":
            # The decoder's own planes are counted by the largest configuration that the boxes name.
            with Path(os.fsdecode(image.filename)).open("rb") as file:
                told = [file.read(min(box.length, 3)) for box in isobmff.boxes(file) if box.name == b"av1C"]
            flags = [one[2] for one in told if one[:1] == _AV1 and len(one) == 3] or [_DEEP]
            depth = 2 if any(flag & _DEEP for flag in flags) else 1
            colours = max(_COLOURS[flag & _SAMPLING] for flag in flags)
            return 2 * stored + 2 * alpha + depth * (1 + colours + alpha)
        case "HEIF":
            deep = image.info.get("bit_depth", _HEIF_DEPTH) != _HEIF_DEPTH
            return 2.0 * stored + (2.5 if alpha else 0.5) + (2 if deep else 0)
    if alpha and image.mode in {"L", "I;16", "I;16B", "RGB"}:
        return _KEYED
    needed = _KEYED_PALETTE if alpha and image.mode == "P" else _CONVERTED.get(image.mode, _KEYED)
    # A TIFF's strip may be all of it, and it is turned while it is decoded.
    return max(needed, 2 * stored + 0.5) if image.format == "TIFF" else needed


def _jpeg(image: ImageFile.ImageFile, largest: Size, scans: int) -> int:
    """What the decoder holds: all coefficients unless they come in one scan, and the pixels at its scale.

    CMYK is converted, too.
    """
    pixels = image.width * image.height
    scale = max((s for s in (1, 2, 4, 8) if max(image.size) >= s * HEADROOM * max(largest)), default=1)
    held = (8.5 if image.mode == "CMYK" else 4.0) * pixels / (scale * scale)
    if scans > 1 and isinstance(image, JpegImagePlugin.JpegImageFile):
        sampling = [layer[1] * layer[2] for layer in image.layer]
        held += 2.2 * pixels * sum(sampling) / max(sampling, default=1)
    return round(held)
