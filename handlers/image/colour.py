"""From whatever colours a picture is in to sRGB."""

import hashlib
import io
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageCms

Picture = Image.Image

_STEPS = 9
_KNOWN = 64
"""Profiles whose effect is remembered; photos of a day come with a handful."""


@dataclass(frozen=True, slots=True)
class Space:
    """What a picture's numbers mean: an ICC profile, else sRGB; whether they are greys; what was not followed."""

    profile: bytes | None
    grey: bool
    note: str = ""


class _Effects:
    """Which profiles change nothing, by their digests; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._idle: dict[bytes, bool] = {}

    def is_idle(self, profile: bytes) -> bool:
        digest = hashlib.sha256(profile).digest()
        if digest not in self._idle:
            if len(self._idle) >= _KNOWN:
                del self._idle[next(iter(self._idle))]
            self._idle[digest] = _changes_nothing(profile)
        return self._idle[digest]


_effects = _Effects()


def to_srgb(image: Picture, space: Space) -> tuple[Picture, str]:
    """RGB, RGBA or RGBa in sRGB, and a note when what the picture says of its colours could not be followed."""
    if image.mode == "LAB":
        return _converted(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))), space.note
    if space.profile is None:
        return _plain(image), space.note
    try:
        if image.mode != "CMYK" and _effects.is_idle(space.profile):
            return _plain(image), space.note
        return _by_profile(image, _opened(space.profile), grey=space.grey), space.note
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return _plain(image), f"icc_ignored: {error}"[:200]


def straight(image: Picture) -> Picture:
    """Without premultiplication: colours mean something to a profile only then."""
    return image.convert("RGBA") if image.mode == "RGBa" else image


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _changes_nothing(profile: bytes) -> bool:
    """Whether no colour of a coarse cube, or no grey, is moved by more than rounding moves it. Takes some ms."""
    source = _opened(profile)
    match source.profile.xcolor_space:
        case "RGB ":
            levels = [round(255 * step / (_STEPS - 1)) for step in range(_STEPS)]
            cube = bytes(value for r in levels for g in levels for b in levels for value in (r, g, b))
            colours = Image.frombytes("RGB", (_STEPS**3, 1), cube)
        case "GRAY":
            colours = Image.frombytes("L", (256, 1), bytes(range(256)))
        case _:
            return False
    moved = ImageChops.difference(_converted(colours, source), colours.convert("RGB"))
    return max(value for band in moved.split() for value in band.getextrema() if isinstance(value, int | float)) <= 1


def _by_profile(image: Picture, source: ImageCms.ImageCmsProfile, *, grey: bool) -> Picture:
    image = straight(image)
    if source.profile.xcolor_space == "GRAY":
        if not grey:
            raise ValueError("a profile of greys, on colours")
        colours = _converted(image.getchannel(0), source)
        if image.mode == "RGBA":
            colours.putalpha(image.getchannel("A"))
        return colours
    return _converted(image.convert("RGB") if image.mode == "L" else image, source)


def _converted(image: Picture, source: ImageCms.ImageCmsProfile) -> Picture:
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    if converted is None:
        raise ValueError("no conversion")
    return converted


def _plain(image: Picture) -> Picture:
    return image if image.mode in {"RGB", "RGBa", "RGBA"} else image.convert("RGB")
