"""What a file says about its colours: an ICC profile, code points (cICP, nclx), or a gamma and primaries."""

import itertools
import math
import struct
from pathlib import Path

from PIL import ImageFile

from handlers.image.color.convert import Space
from handlers.image.color.profiles import D65, SRGB, SRGB_CURVE, Curve, Primaries, profile_of
from handlers.image.containers import isobmff, png

_PRIMARIES = {
    1: SRGB,
    5: Primaries((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: Primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), white=(0.314, 0.351)),
    12: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""Of ITU-T H.273, table 2."""
_CURVES = {4: Curve(2.2), 5: Curve(2.8), 8: Curve(1.0)} | dict.fromkeys((1, 6, 13, 14, 15), SRGB_CURVE)
"""Of H.273, table 3. A camera's curves for television (1, 6, 14, 15) are shown with sRGB's, as browsers show them."""
_UNSAID = 2
_GREYS = ("1", "L", "I", "F")
_CLOSE = 0.01
_USUAL_GAMMA = 1 / 2.2


def read_color_space(image: ImageFile.ImageFile, path: Path) -> Space:
    """What a picture that was opened from `path` says. Code points go before a profile in PNG, behind it elsewhere."""
    grey = image.mode.startswith(_GREYS)
    profile = image.info.get("icc_profile")
    points = _points_of(image, path) if image.format == "PNG" or not profile else None
    if points:
        primaries, transfer = points
        gamut = SRGB if primaries == _UNSAID else _PRIMARIES.get(primaries)
        curve = SRGB_CURVE if transfer == _UNSAID else _CURVES.get(transfer)
        if gamut is None or curve is None:
            return Space(None, grey, f"colour_ignored: primaries {primaries}, transfer {transfer}; shown as sRGB")
        return _described(gamut, curve, grey=grey)
    if profile is not None:
        usable = isinstance(profile, bytes)
        return Space(profile if usable else None, grey, "" if usable else "icc_ignored: it is no sequence of bytes")
    if image.format == "PNG" and "srgb" not in image.info:
        return _by_gamma(image, grey=grey)
    return Space(None, grey)


def _points_of(image: ImageFile.ImageFile, path: Path) -> tuple[int, int] | None:
    """Primaries and transfer."""
    match image.format:
        case "PNG":
            with path.open("rb") as file:
                before_pixels = itertools.takewhile(lambda chunk: chunk.name != b"IDAT", png.chunks(file))
                told = (file.read(min(chunk.length, 2)) for chunk in before_pixels if chunk.name == b"cICP")
                found = next(told, b"")
            return (found[0], found[1]) if len(found) == 2 else None
        case "AVIF":
            with path.open("rb") as file:
                told = (file.read(min(box.length, 8)) for box in isobmff.boxes(file) if box.name == b"colr")
                found = next((color[4:] for color in told if color.startswith(b"nclx")), b"")
            return struct.unpack(">2H", found) if len(found) == 4 else None
        case "HEIF":
            nclx = image.info.get("nclx_profile")
            if isinstance(nclx, dict):
                return int(nclx.get("color_primaries", _UNSAID)), int(nclx.get("transfer_characteristics", _UNSAID))
    return None


def _by_gamma(image: ImageFile.ImageFile, *, grey: bool) -> Space:
    gamma, told = image.info.get("gamma"), image.info.get("chromaticity")
    curve, gamut = SRGB_CURVE, SRGB
    if isinstance(gamma, float) and abs(gamma - _USUAL_GAMMA) > _CLOSE:
        if not 0.1 <= gamma <= 10:  # no screen was ever like that
            return Space(None, grey, f"colour_ignored: gamma {gamma:g}; shown as sRGB")
        curve = Curve(1 / gamma)
    if isinstance(told, tuple) and len(told) == 8:  # x and y of four colours
        white, red, green, blue = zip(told[::2], told[1::2], strict=True)
        usual = (*D65, *SRGB.red, *SRGB.green, *SRGB.blue)
        if not all(math.isclose(a, b, abs_tol=_CLOSE) for a, b in zip(told, usual, strict=True)):
            gamut = Primaries(red, green, blue, white)
    return _described(gamut, curve, grey=grey)


def _described(gamut: Primaries, curve: Curve, *, grey: bool) -> Space:
    if curve == SRGB_CURVE and (grey or gamut == SRGB):
        return Space(None, grey)
    try:
        return Space(profile_of(gamut, curve, grey=grey), grey)
    except (ArithmeticError, struct.error) as error:
        return Space(None, grey, f"colour_ignored: {error}; shown as sRGB"[:200])
