"""Pure steps from decoded pixels to upright 8-bit sRGB, in the order that costs least."""

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
    """L, RGB, RGBA, CMYK or LAB of 8 bits, what can be resized and has a colour meaning; and a note or nothing.

    Deep greys are scaled by their range; converted as they are they would clip to white.
    """
    if not isinstance(image.info.get("transparency"), int | tuple | bytes):
        image.info.pop("transparency", None)  # a text of the file may stand under this name
    if image.mode.startswith("I;16") and isinstance(key := image.info.get("transparency"), int):
        grey, note = levels.to_grey(image)
        opaque = [_EIGHT_BIT] * (_SIXTEEN_BIT + 1)
        opaque[key & _SIXTEEN_BIT] = 0
        grey.putalpha(image.convert("I").point(opaque, "L"))
        return grey.convert("RGBA"), note
    if image.mode.startswith("I") or image.mode == "F":
        return levels.to_grey(image)
    if image.has_transparency_data:
        # Of colours of 16 bits Pillow keeps the upper half, but of the one that stands for transparent it keeps all.
        if isinstance(key := image.info.get("transparency"), tuple) and max(key) > _EIGHT_BIT:
            image.info["transparency"] = tuple(value >> 8 for value in key)
        return image.convert("RGBA"), ""
    if image.mode == "L":
        return levels.without_sign(image), ""
    if image.mode in _DIRECT:
        return image, ""
    return image.convert("L" if image.mode == "1" else "RGB"), ""


def shrink(image: Picture, size: Size, box: Box | None = None) -> Picture:
    """Lanczos to `size`, of `box` when given. Alpha is premultiplied, so that hidden colours do not bleed.

    The result of a picture with alpha stays premultiplied (`RGBa`) for the next step down.
    """
    if image.mode == "RGBA":
        image = image.convert("RGBa")
    quick = resampling.resample(image, size) if box in {None, (0, 0, *image.size)} else None
    return quick or image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=HEADROOM)


def upright(image: Picture, orientation: int) -> Picture:
    """Turned and mirrored as EXIF asks."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def without_idle_alpha(image: Picture) -> Picture:
    """RGB when every pixel is opaque, else premultiplied RGBA: an idle channel costs bytes and time again and again."""
    if image.mode not in {"RGBA", "RGBa"}:
        return image
    if image.getchannel("a" if image.mode == "RGBa" else "A").getextrema() == (_EIGHT_BIT, _EIGHT_BIT):
        return straight(image).convert("RGB")
    return image if image.mode == "RGBa" else image.convert("RGBa")
