"""Reduces deep grays to 8 bits: decides which value is black and which is white."""

import math
from array import array

from PIL import Image, ImageOps

from handlers.image.decoding.tiff import Samples, samples_of

Picture = Image.Image

_WHITE = 255
_WHOLE = (255, 65_535)
"""Usual values of white where samples have more bits than they use."""
_SIDE = 256
"""Pixels: width and height of the sample in which outliers are looked for, at most."""
_OUTLYING = 1000
"""One value in this many may be an outlier, at either end."""
_FAR = 16
"""Outliers that stretch the range of the other values by more than this factor are ignored."""
_UNDERSHOOT = 0.05
"""Fraction of white: values so little below zero come from a filter's ringing and count as black."""
_SIGN = 128
_STRIP = 1 << 20
"""Pixels that are converted at once."""


def to_gray(image: Picture) -> tuple[Picture, str]:
    """Convert I;16, I or F to L, and note black and white when they were found in the picture.

    Unsigned samples of up to 16 bits have their format's range. Wider samples, signed samples and fractions have no
    defined white. It is 1.0, 255 or 65,535 where that fits, else the greatest finite value, a few outliers left out.
    """
    samples = samples_of(image)
    if image.mode.startswith("I;16"):
        black, white, note = 0.0, 2.0**samples.bits - 1, ""
        image = image.convert("I")
    else:
        image = _restore_unsigned(image, samples)
        black, white, note = _find_range(image)
    factor = _WHITE / (white - black)
    gray = image.point(lambda value: value * factor + (0.5 - black * factor)).convert("L")
    return ImageOps.invert(gray) if samples.white_is_zero else gray, note


def without_sign(image: Picture) -> Picture:
    """Convert L whose bytes may be signed to plain L."""
    samples = samples_of(image)
    signed = samples.signed and samples.bits == 8 and image.mode == "L"  # as many as a byte has
    return image.point(lambda value: value ^ _SIGN) if signed else image


def _restore_unsigned(image: Picture, samples: Samples) -> Picture:
    """Return F when unsigned samples of 32 bits were read as signed: their upper half came out negative."""
    low = image.getextrema()[0]
    if image.mode != "I" or samples.signed or isinstance(low, tuple) or low >= 0:
        return image
    real = Image.new("F", image.size)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        real.paste(Image.frombytes("F", strip.size, strip.tobytes(), "raw", "F;32N"), (0, top))
    return real


def _find_range(image: Picture) -> tuple[float, float, str]:
    """Return black, white and a note: the least and the greatest value without outliers, or usual values near them."""
    sample = image.resize((min(image.width, _SIDE), min(image.height, _SIDE)), Image.Resampling.NEAREST)
    numbers = array("f" if image.mode == "F" else "i", sample.tobytes())
    finite = sorted(value for value in numbers if math.isfinite(value))
    values = finite or [0]

    # A few values may lie far outside the others. They are no part of the picture.
    aside = min(-(-len(values) // _OUTLYING), (len(values) - 1) // 2)
    low, high = float(values[aside]), float(values[-1 - aside])
    least, most = (float(value) for value in image.getextrema() if not isinstance(value, tuple))
    near = _FAR * (high - low) or _WHOLE[-1]  # nearly all values are equal: the others are the picture
    if finite and most - least <= near:  # false when an extreme is not finite
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
