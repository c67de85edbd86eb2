"""Brings deep greys to 8 bits: decides which value is black and which is white."""

import math
from array import array

from PIL import Image, ImageOps

from handlers.image.decoding.tiff import Samples, samples_of

Picture = Image.Image

_WHITE = 255
_WHOLE = (255, 65_535)
"""What white is in whole numbers of more bits than they need."""
_SIDE = 256
"""Pixels: the sample that tells the outliers is no wider or higher."""
_OUTLYING = 1000
"""One value of so many may lie outside, at either end."""
_FAR = 16
"""Times the range of the others: what stretches it further is no part of the picture."""
_UNDERSHOOT = 0.05
"""Of white: what lies so little below zero is the ringing of a filter and not darkness."""
_SIGN = 128
_STRIP = 1 << 20


def to_grey(image: Picture) -> tuple[Picture, str]:
    """L of a picture in I;16, I or F, and a note when black and white are its own.

    Unsigned numbers of up to 16 bits have their format's range. Of wider, signed and broken ones nobody says what white
    is: 1.0, 255 or 65,535 where that fits, else what the finite values reach, without a few that lie far outside.
    """
    samples = samples_of(image)
    if image.mode.startswith("I;16"):
        black, white, note = 0.0, 2.0**samples.bits - 1, ""
        image = image.convert("I")
    else:
        image = _unsigned(image, samples)
        black, white, note = _range_of(image)
    factor = _WHITE / (white - black)
    grey = image.point(lambda value: value * factor + (0.5 - black * factor)).convert("L")
    return ImageOps.invert(grey) if samples.white_is_zero else grey, note


def without_sign(image: Picture) -> Picture:
    """L of a picture in L whose bytes may be signed numbers."""
    samples = samples_of(image)
    signed = samples.signed and samples.bits == 8 and image.mode == "L"  # as many as a byte has
    return image.point(lambda value: value ^ _SIGN) if signed else image


def _unsigned(image: Picture, samples: Samples) -> Picture:
    """F when 32 bits without sign were read as if they had one: what is above the middle came out negative."""
    low = image.getextrema()[0]
    if image.mode != "I" or samples.signed or isinstance(low, tuple) or low >= 0:
        return image
    real = Image.new("F", image.size)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        real.paste(Image.frombytes("F", strip.size, strip.tobytes(), "raw", "F;32N"), (0, top))
    return real


def _range_of(image: Picture) -> tuple[float, float, str]:
    """Black, white and a note: the least and the greatest value that count, or what is usual near them."""
    sample = image.resize((min(image.width, _SIDE), min(image.height, _SIDE)), Image.Resampling.NEAREST)
    numbers = array("f" if image.mode == "F" else "i", sample.tobytes())
    finite = sorted(value for value in numbers if math.isfinite(value))
    values = finite or [0]

    # A few values may lie far outside the others: they are no part of the picture.
    aside = min(-(-len(values) // _OUTLYING), (len(values) - 1) // 2)
    low, high = float(values[aside]), float(values[-1 - aside])
    least, most = (float(value) for value in image.getextrema() if not isinstance(value, tuple))
    near = _FAR * (high - low) or _WHOLE[-1]  # where nearly all is of one value, what is not is the picture
    if finite and most - least <= near:  # never so of what is not finite
        low, high = least, most

    if low >= -_UNDERSHOOT * high:
        low = 0.0
        usual = next((limit for limit in _WHOLE if limit / 2 < high <= limit), 0)
        usual = 1 if image.mode == "F" and high <= 1 else usual
        if usual:
            return low, usual, ""
    if high <= low:
        return low, low + 1, ""
    return low, high, f"levels: {low:g} is shown as black and {high:g} as white"
