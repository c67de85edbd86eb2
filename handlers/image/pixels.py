"""Pure steps from decoded pixels to upright 8-bit sRGB, in the order that costs least."""

import io

from PIL import Image, ImageCms

from handlers.image import resampling
from handlers.image.geometry import Size
from handlers.image.source import HEADROOM, Box

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
_DIRECT = {"L", "RGB", "CMYK", "LAB"}


def to_eight_bits(image: Picture) -> Picture:
    """L, RGB, RGBA, CMYK or LAB of 8 bits: what can be resized and has a colour meaning.

    Deep greys are scaled by their range; converted as they are they would clip to white.
    """
    if image.mode.startswith("I;16"):
        return _scaled(image.convert("I"), _SIXTEEN_BIT)
    if image.mode in {"I", "F"}:
        return _scaled(image, _range_of(image))
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in _DIRECT:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _range_of(image: Picture) -> float:
    """The value that is white: of 1.0, 8 bits and 16 bits the smallest that fits, else the picture's own maximum."""
    low_high = image.getextrema()
    high = float(low_high[1]) if not isinstance(low_high[1], tuple) else 0.0
    fitting = [1.0] if image.mode == "F" else []
    return next((limit for limit in (*fitting, _EIGHT_BIT, _SIXTEEN_BIT) if high <= limit), high)


def _scaled(image: Picture, white: float) -> Picture:
    factor = _EIGHT_BIT / white
    return image.point(lambda value: value * factor + 0.5).convert("L")


def shrink(image: Picture, size: Size, box: Box | None = None) -> Picture:
    """Lanczos to `size`, of `box` when given. Alpha is premultiplied, so that hidden colours do not bleed.

    The result of a picture with alpha stays premultiplied (`RGBa`) for the next step down.
    """
    if image.mode == "RGBA":
        image = image.convert("RGBa")
    quick = resampling.resample(image, size) if box in {None, (0, 0, *image.size)} else None
    return quick or image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=HEADROOM)


def to_srgb(image: Picture, profile: bytes | None) -> tuple[Picture, str]:
    """RGB, RGBA or RGBa in sRGB by the picture's own profile, and a note when that could not be used."""
    if image.mode == "LAB":
        return _by_profile(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))), ""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not _is_srgb(source) or image.mode == "CMYK":
                return _by_profile(_straight(image), source), ""
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            return _plain(image), f"icc_ignored: {error}"[:200]
    return _plain(image), ""


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    return ImageCms.getProfileDescription(profile).strip().lower().startswith("srgb")


def _by_profile(image: Picture, source: ImageCms.ImageCmsProfile) -> Picture:
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    target = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, target, outputMode=mode)
    if converted is None:
        raise ValueError("no conversion")
    return converted


def _straight(image: Picture) -> Picture:
    """Without premultiplication: colours mean something to a profile only then."""
    return image.convert("RGBA") if image.mode == "RGBa" else image


def _plain(image: Picture) -> Picture:
    return image if image.mode in {"RGB", "RGBa", "RGBA"} else image.convert("RGB")


def upright(image: Picture, orientation: int) -> Picture:
    """Turned and mirrored as EXIF asks."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def without_idle_alpha(image: Picture) -> Picture:
    """RGB when every pixel is opaque, else premultiplied RGBA: an idle channel costs bytes and time again and again."""
    if image.mode not in {"RGBA", "RGBa"}:
        return image
    if image.getchannel("a" if image.mode == "RGBa" else "A").getextrema() == (_EIGHT_BIT, _EIGHT_BIT):
        return _straight(image).convert("RGB")
    return image if image.mode == "RGBa" else image.convert("RGBa")
