"""Pure functions on pixels: conversion to 8 bits, scaling, turning, and removal of unused alpha."""

from PIL import Image

from handlers.image.color import levels
from handlers.image.color.convert import straight
from handlers.image.decoding.source import HEADROOM, Box
from handlers.image.geometry import Size
from handlers.image.rendering import resampling

Picture = Image.Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EIGHT_BIT = 255
_SIXTEEN_BIT = 65_535
_DIRECT = {"RGB", "CMYK", "LAB"}


def to_eight_bits(image: Picture) -> tuple[Picture, str]:
    """Convert to L, RGB, RGBA, CMYK or LAB of 8 bits, which can be resized; return a note, too, which may be empty.

    Deep grays are scaled by their range. A plain conversion would clip them to white.
    """
    if not isinstance(image.info.get("transparency"), int | tuple | bytes):
        image.info.pop("transparency", None)  # a text chunk of the file may use this name
    if image.mode.startswith("I;16") and isinstance(key := image.info.get("transparency"), int):
        gray, note = levels.to_gray(image)
        opaque = [_EIGHT_BIT] * (_SIXTEEN_BIT + 1)
        opaque[key & _SIXTEEN_BIT] = 0
        gray.putalpha(image.convert("I").point(opaque, "L"))
        return gray.convert("RGBA"), note
    if image.mode.startswith("I") or image.mode == "F":
        return levels.to_gray(image)
    if image.has_transparency_data:
        return image.convert("RGBA"), ""
    if image.mode == "L":
        return levels.without_sign(image), ""
    if image.mode in _DIRECT:
        return image, ""
    return image.convert("L" if image.mode == "1" else "RGB"), ""


def shrink(image: Picture, size: Size, box: Box | None = None) -> Picture:
    """Resample a picture, or its `box`, to `size` with Lanczos.

    Alpha is premultiplied, so that hidden colors do not bleed. It stays so (`RGBa`) for the next smaller rendition.
    """
    if image.mode == "RGBA":
        image = image.convert("RGBa")
    quick = resampling.resample(image, size) if box in {None, (0, 0, *image.size)} else None
    return quick or image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=HEADROOM)


def upright(image: Picture, orientation: int) -> Picture:
    """Turn and mirror a picture as EXIF asks."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def without_unused_alpha(image: Picture) -> Picture:
    """Return RGB when every pixel is opaque, else premultiplied RGBA.

    An unused channel costs bytes and time in every rendition.
    """
    if image.mode not in {"RGBA", "RGBa"}:
        return image
    if image.getchannel("a" if image.mode == "RGBa" else "A").getextrema() == (_EIGHT_BIT, _EIGHT_BIT):
        return straight(image).convert("RGB")
    return image if image.mode == "RGBa" else image.convert("RGBa")
