"""Estimates the peak memory of rendering a picture from its header alone. The renderer reserves as much.

The numbers are the largest resident size of a child, measured at 12, 48 and 98 megapixels and rounded up by less than
a tenth.
"""

import os
from pathlib import Path

from PIL import ImageFile, JpegImagePlugin

from handlers.image.containers import isobmff
from handlers.image.decoding.source import HEADROOM, JPEGS
from handlers.image.geometry import Size

BASE = 96 * 1024 * 1024
"""Bytes of the interpreter, the decoders, libvips and small buffers."""
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
"""Bytes of a pixel, stored ones included, while the picture is converted to a mode that libvips takes."""
_KEYED, _KEYED_PALETTE = 19.0, 5.6
"""As above, where one value means transparent."""
_WEBP, _HEIF_DEPTH = 12.5, 8
_HEIF = {"RGB": 6.5, "RGBA": 9.0}
_MOVING = 27
"""Bytes of a pixel of an animation's frame: canvases, the previous frame, conversions."""
_OPAQUE, _WITH_ALPHA = 16, 36
"""Bytes of a pixel of the largest rendition while it and the next are encoded."""
_DEEP, _SAMPLING = 0x40, 0x0C
_CHROMA = {0x00: 2.0, 0x04: 1.0, 0x08: 1.0, 0x0C: 0.5}
"""Chroma samples of a pixel, by the bits that tell which sides are halved."""
_AV1 = b"\x81"
"""First byte of a decoder configuration."""


def peak_memory(image: ImageFile.ImageFile, largest: Size, *, moving: int = 0, scans: int = 1) -> int:
    """Return bytes. `moving` is the number of frames if the animation is kept, `scans` the number of scans of a JPEG.

    The file itself, which some decoders hold, is not counted.
    """
    pixels, area = image.width * image.height, largest[0] * largest[1]
    if moving:
        return BASE + _MOVING * pixels + (13 * moving + 50) * area
    encoding = (_WITH_ALPHA if _has_alpha(image) else _OPAQUE) * area
    if image.format in JPEGS:
        # The decoder holds the pixels at its scale, converts CMYK, and keeps all coefficients unless there is one scan.
        scale = max((s for s in (1, 2, 4, 8) if max(image.size) >= s * HEADROOM * max(largest)), default=1)
        held = (8.5 if image.mode == "CMYK" else 4.0) * pixels / (scale * scale)
        if scans > 1 and isinstance(image, JpegImagePlugin.JpegImageFile):
            sampling = [layer[1] * layer[2] for layer in image.layer]
            held += 2.2 * pixels * sum(sampling) / max(sampling, default=1)
        return BASE + round(held) + encoding
    stored = _STORED.get(image.mode, 4)
    return BASE + max(round(_bytes_per_pixel(image, stored) * pixels), stored * pixels + encoding)


def _has_alpha(image: ImageFile.ImageFile) -> bool:
    return image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info


def _bytes_per_pixel(image: ImageFile.ImageFile, stored: int) -> float:
    """Return the bytes of a pixel while a picture is decoded and converted."""
    alpha = _has_alpha(image)
    match image.format:
        case "WEBP":
            return _WEBP
        case "AVIF":
            # The largest configuration in the boxes gives the size of the decoder's own planes.
            with Path(os.fsdecode(image.filename)).open("rb") as file:
                configurations = [file.read(min(box.length, 3)) for box in isobmff.boxes(file) if box.name == b"av1C"]
            flags = [c[2] for c in configurations if c[:1] == _AV1 and len(c) == 3] or [_DEEP]
            depth = 2 if any(flag & _DEEP for flag in flags) else 1
            chroma = max(_CHROMA[flag & _SAMPLING] for flag in flags)
            # Its threads keep buffers of their own, which vary with the processor and the run by up to a tenth.
            return 1.12 * (2 * stored + 2 * alpha + depth * (1 + chroma + alpha))
        case "HEIF":
            deep = image.info.get("bit_depth", _HEIF_DEPTH) != _HEIF_DEPTH
            # The decoder's planes and what it makes of them; Pillow copies grays once more.
            held = _HEIF.get(image.mode, 2.0 * stored + (2.5 if alpha else 0.5))
            return held + (4 if deep else 0)
    if alpha and image.mode in {"L", "I;16", "I;16B", "RGB"}:
        return _KEYED
    needed = _KEYED_PALETTE if alpha and image.mode == "P" else _CONVERTED.get(image.mode, _KEYED)
    # One strip of a TIFF may hold the whole picture, and Pillow turns it while decoding.
    return max(needed, 2 * stored + 0.5) if image.format == "TIFF" else needed
