"""Shows HDR pictures (PQ and HLG, ITU-R BT.2100) on SDR displays, as Chromium does.

The curve is the reference-white tone mapping of SMPTE ST 2094-50: colors below white are scaled, those above are
compressed, so that the brightest becomes white.
"""

import functools
import math
from dataclasses import dataclass

from PIL import Image, ImageFilter

from handlers.image.color.profiles import REC2020, SRGB, Primaries, Vector, conversion, times

PQ, HLG = 16, 18
"""Transfer characteristics (ITU-T H.273, table 3)."""
PEAK = 1000.0
"""Candelas per square meter of the brightest color where a file names none."""
_WHITE = 203.0
"""Candelas per square meter of diffuse white (ITU-R BT.2408)."""
_SIDE = 33
"""Values of each channel in the table. Colors between them are interpolated."""
_KAPPA = 0.65
"""Where the curve bends above white."""
_LUMINANCE = (0.2627, 0.6780, 0.0593)
"""Of BT.2020's primaries."""


@dataclass(frozen=True, slots=True)
class HdrCurve:
    """How an HDR picture stores colors: primaries, a transfer, and the brightest color in candelas per square meter."""

    primaries: Primaries
    transfer: int
    peak: float = PEAK


def tone_map(image: Image.Image, curve: HdrCurve) -> Image.Image:
    """Convert RGB or RGBA to sRGB."""
    return image.filter(lookup_table(curve))


@functools.lru_cache(maxsize=8)
def lookup_table(curve: HdrCurve) -> ImageFilter.Color3DLUT:
    """Compute the sRGB color of each node. Takes about 0.2 s."""
    into, out = conversion(curve.primaries, REC2020), conversion(REC2020, SRGB)
    light = [decode(step / (_SIDE - 1), curve.transfer) for step in range(_SIDE)]
    top = max(curve.peak, _WHITE) / _WHITE  # the brightest color, in multiples of diffuse white
    white = 1 - 0.5 * min(math.log2(top) / math.log2(PEAK / _WHITE), 1.0)  # what diffuse white becomes

    def color(r: int, g: int, b: int) -> Vector:
        stored = times(into, (light[r], light[g], light[b]))
        if curve.transfer == HLG:
            # A display of 1,000 candelas shows it with a gamma of 1.2.
            luminance = sum(weight * max(0.0, value) for weight, value in zip(_LUMINANCE, stored, strict=True))
            factor = luminance**0.2 * PEAK / _WHITE
            stored = stored[0] * factor, stored[1] * factor, stored[2] * factor
        brightest = max(stored)
        gain = compress(brightest, white, top) / brightest if brightest > 0 else 0.0
        red, green, blue = times(out, stored)
        return _encode(red * gain), _encode(green * gain), _encode(blue * gain)

    nodes = range(_SIDE)
    table = [value for b in nodes for g in nodes for r in nodes for value in color(r, g, b)]
    return ImageFilter.Color3DLUT(_SIDE, table)


def decode(value: float, transfer: int) -> float:
    """Return light: of PQ in multiples of diffuse white, of HLG the scene's, 0 to 1."""
    if transfer == HLG:
        return value * value / 3 if value <= 0.5 else (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    power = math.pow(value, 32 / 2523)
    return math.pow(max(0.0, power - 0.8359375) / (18.8515625 - 18.6875 * power), 8192 / 1305) * 10_000 / _WHITE


def compress(value: float, white: float, top: float) -> float:
    """Map multiples of diffuse white to 0 to 1: a line to white, then a Bézier curve to the brightest."""
    if value <= 1:
        return value * white
    if value >= top:
        return 1.0
    middle, height = 1 - _KAPPA + _KAPPA / white, (1 - _KAPPA) * white + _KAPPA
    a, b, c = 1 - 2 * middle + top, 2 * (middle - 1), 1 - value
    at = (math.sqrt(b * b - 4 * a * c) - b) / (2 * a) if a else -c / b
    return (1 - at) ** 2 * white + 2 * at * (1 - at) * height + at * at


def _encode(light: float) -> float:
    """Apply sRGB's curve."""
    light = min(max(light, 0.0), 1.0)
    return light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
