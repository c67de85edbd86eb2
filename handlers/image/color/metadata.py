"""Reads a file's color metadata: an ICC profile, code points (cICP, nclx), or a gamma and primaries."""

import itertools
import math
import struct
from pathlib import Path

from PIL import ImageFile

from handlers.image.color.convert import Space
from handlers.image.color.profiles import D65, REC2020, SRGB, SRGB_CURVE, Curve, Primaries, profile_of
from handlers.image.color.tone_mapping import HLG, PEAK, PQ, HdrCurve
from handlers.image.containers import isobmff, png

_PRIMARIES = {
    1: SRGB,
    5: Primaries((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: REC2020,
    11: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), white=(0.314, 0.351)),
    12: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""Primaries by code point: ITU-T H.273, table 2."""
_CURVES = {4: Curve(2.2), 5: Curve(2.8), 8: Curve(1.0)} | dict.fromkeys((1, 6, 13, 14, 15), SRGB_CURVE)
"""Curves by code point: H.273, table 3. Television's (1, 6, 14, 15) are shown with sRGB's, as browsers do."""
_HDR = {PQ: "PQ", HLG: "HLG"}
_UNSPECIFIED = 2
_PNG_LIGHT = 10_000
"""Units of a candela per square meter in PNG, and in the mastering display's box."""
_GRAY_MODES = ("1", "L", "I", "F")
_CLOSE = 0.01
"""Tolerance when a gamma or a chromaticity is compared with sRGB's."""
_USUAL_GAMMA = 1 / 2.2


def read_color_space(image: ImageFile.ImageFile, path: Path) -> Space:
    """Return the color space of a picture that was opened from `path`.

    Code points take precedence over a profile in PNG. Elsewhere the profile does.
    """
    gray = image.mode.startswith(_GRAY_MODES)
    profile = image.info.get("icc_profile")
    points = _code_points(image, path) if image.format == "PNG" or not profile else None
    if points:
        primaries, transfer = points
        gamut = SRGB if primaries == _UNSPECIFIED else _PRIMARIES.get(primaries)
        if gamut and transfer in _HDR:
            peak = peak_light(image, path) or PEAK
            note = f"tone_mapped: from {_HDR[transfer]} of {peak:g} cd/m²"
            return Space(None, gray, note, HdrCurve(gamut, transfer, peak))
        curve = SRGB_CURVE if transfer == _UNSPECIFIED else _CURVES.get(transfer)
        if gamut is None or curve is None:
            return Space(None, gray, f"colour_ignored: primaries {primaries}, transfer {transfer}; shown as sRGB")
        return _space_of(gamut, curve, gray=gray)
    if profile is not None:
        usable = isinstance(profile, bytes)
        return Space(profile if usable else None, gray, "" if usable else "icc_ignored: it is no sequence of bytes")
    if image.format == "PNG" and "srgb" not in image.info:
        return _from_gamma(image, gray=gray)
    return Space(None, gray)


def _code_points(image: ImageFile.ImageFile, path: Path) -> tuple[int, int] | None:
    """Return the code points of primaries and transfer."""
    match image.format:
        case "PNG":
            with path.open("rb") as file:
                before_pixels = itertools.takewhile(lambda chunk: chunk.name != b"IDAT", png.chunks(file))
                contents = (file.read(min(chunk.length, 2)) for chunk in before_pixels if chunk.name == b"cICP")
                found = next(contents, b"")
            return (found[0], found[1]) if len(found) == 2 else None
        case "AVIF":
            with path.open("rb") as file:
                contents = (file.read(min(box.length, 8)) for box in isobmff.boxes(file) if box.name == b"colr")
                found = next((color[4:] for color in contents if color.startswith(b"nclx")), b"")
            return struct.unpack(">2H", found) if len(found) == 4 else None
        case "HEIF":
            nclx = image.info.get("nclx_profile")
            if isinstance(nclx, dict):
                primaries = nclx.get("color_primaries", _UNSPECIFIED)
                return int(primaries), int(nclx.get("transfer_characteristics", _UNSPECIFIED))
    return None


def peak_light(image: ImageFile.ImageFile, path: Path) -> float:
    """Return the brightest color that a file names, else the brightest of its author's display, else 0; cd/m²."""
    with path.open("rb") as file:
        if image.format == "PNG":
            found = {c.name: file.read(min(c.length, 24)) for c in png.chunks(file) if c.name in {b"cLLI", b"mDCV"}}
            content = int.from_bytes(found.get(b"cLLI", b"")[:4]) / _PNG_LIGHT
            return content or int.from_bytes(found.get(b"mDCV", b"")[16:20]) / _PNG_LIGHT
        found = {b.name: file.read(min(b.length, 24)) for b in isobmff.boxes(file) if b.name in {b"clli", b"mdcv"}}
        content = int.from_bytes(found.get(b"clli", b"")[:2])
        return content or int.from_bytes(found.get(b"mdcv", b"")[16:20]) / _PNG_LIGHT


def _from_gamma(image: ImageFile.ImageFile, *, gray: bool) -> Space:
    """Return the color space that a PNG's gAMA and cHRM describe."""
    gamma, points = image.info.get("gamma"), image.info.get("chromaticity")
    curve, gamut = SRGB_CURVE, SRGB
    if isinstance(gamma, float) and abs(gamma - _USUAL_GAMMA) > _CLOSE:
        if not 0.1 <= gamma <= 10:  # no display has such a gamma
            return Space(None, gray, f"colour_ignored: gamma {gamma:g}; shown as sRGB")
        curve = Curve(1 / gamma)
    if isinstance(points, tuple) and len(points) == 8:  # x and y of four colors
        white, red, green, blue = zip(points[::2], points[1::2], strict=True)
        usual = (*D65, *SRGB.red, *SRGB.green, *SRGB.blue)
        if not all(math.isclose(a, b, abs_tol=_CLOSE) for a, b in zip(points, usual, strict=True)):
            gamut = Primaries(red, green, blue, white)
    return _space_of(gamut, curve, gray=gray)


def _space_of(gamut: Primaries, curve: Curve, *, gray: bool) -> Space:
    if curve == SRGB_CURVE and (gray or gamut == SRGB):
        return Space(None, gray)
    try:
        return Space(profile_of(gamut, curve, gray=gray), gray)
    except (ArithmeticError, struct.error) as error:
        return Space(None, gray, f"colour_ignored: {error}; shown as sRGB"[:200])
