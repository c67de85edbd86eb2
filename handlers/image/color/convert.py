"""From whatever colours a picture is in to sRGB."""

import functools
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


class Converter:
    """Brings pictures that share one colour space to sRGB: looks at its profile once, however many frames there are."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._transforms: dict[str, ImageCms.ImageCmsTransform] = {}

    def convert(self, image: Picture) -> tuple[Picture, str]:
        """RGB, RGBA or RGBa in sRGB, and a note when what the picture says of its colours could not be followed."""
        if image.mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
            return self._transformed(image, source), self._space.note
        if self._space.profile is None:
            return _plain(image), self._space.note
        try:
            if image.mode != "CMYK" and self._is_idle:
                return _plain(image), self._space.note
            return self._by_profile(straight(image), self._source), self._space.note
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            return _plain(image), f"icc_ignored: {error}"[:200]

    @functools.cached_property
    def _is_idle(self) -> bool:
        return _effects.is_idle(self._space.profile or b"")

    @functools.cached_property
    def _source(self) -> ImageCms.ImageCmsProfile:
        return _opened(self._space.profile or b"")

    def _by_profile(self, image: Picture, source: ImageCms.ImageCmsProfile) -> Picture:
        if source.profile.xcolor_space == "GRAY":
            if not self._space.grey:
                raise ValueError("a profile of greys, on colours")
            colours = self._transformed(image.getchannel(0), source)
            if image.mode == "RGBA":
                colours.putalpha(image.getchannel("A"))
            return colours
        return self._transformed(image.convert("RGB") if image.mode == "L" else image, source)

    def _transformed(self, image: Picture, source: ImageCms.ImageCmsProfile) -> Picture:
        if image.mode not in self._transforms:
            self._transforms[image.mode] = _transform(image.mode, source)
        return _applied(image, self._transforms[image.mode])


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
    moved = ImageChops.difference(_applied(colours, _transform(colours.mode, source)), colours.convert("RGB"))
    return max(value for band in moved.split() for value in band.getextrema() if isinstance(value, int | float)) <= 1


def _transform(mode: str, source: ImageCms.ImageCmsProfile) -> ImageCms.ImageCmsTransform:
    into = "RGBA" if mode == "RGBA" else "RGB"
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, into)


def _applied(image: Picture, transform: ImageCms.ImageCmsTransform) -> Picture:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("no conversion")
    return converted


def _plain(image: Picture) -> Picture:
    return image if image.mode in {"RGB", "RGBa", "RGBA"} else image.convert("RGB")
