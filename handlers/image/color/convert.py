"""Converts a picture from its own color space to sRGB."""

import functools
import hashlib
import io
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageCms

from handlers.image.color.tone_mapping import HdrCurve, tone_map

Picture = Image.Image

_STEPS = 9
"""Values of each channel that are tried to find out what a profile does."""
_CACHED = 64
"""Profiles whose effect is remembered. One day's photos use a handful."""


@dataclass(frozen=True, slots=True)
class Space:
    """A picture's color space: an ICC profile or a curve of HDR, else sRGB; whether it is gray; a note."""

    profile: bytes | None
    gray: bool
    note: str = ""
    hdr: HdrCurve | None = None


class _IdentityCache:
    """Remembers which profiles change nothing, by their digests. The oldest is evicted first."""

    def __init__(self) -> None:
        self._known: dict[bytes, bool] = {}

    def is_identity(self, profile: bytes) -> bool:
        digest = hashlib.sha256(profile).digest()
        if digest not in self._known:
            if len(self._known) >= _CACHED:
                del self._known[next(iter(self._known))]
            self._known[digest] = _changes_nothing(profile)
        return self._known[digest]


_identities = _IdentityCache()


class Converter:
    """Converts pictures that share one color space to sRGB. Reads the profile once for all frames."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._transforms: dict[str, ImageCms.ImageCmsTransform] = {}

    def convert(self, image: Picture) -> tuple[Picture, str]:
        """Return RGB, RGBA or RGBa in sRGB, and a note when the picture's color metadata was ignored."""
        if image.mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
            return self._transform(image, source), self._space.note
        if self._space.hdr:
            return tone_map(_plain(straight(image)), self._space.hdr), self._space.note
        if self._space.profile is None:
            return _plain(image), self._space.note
        try:
            if image.mode != "CMYK" and _identities.is_identity(self._space.profile):
                return _plain(image), self._space.note
            return self._apply_profile(straight(image)), self._space.note
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            return _plain(image), f"icc_ignored: {error}"[:200]

    @functools.cached_property
    def _source(self) -> ImageCms.ImageCmsProfile:
        return _open(self._space.profile or b"")

    def _apply_profile(self, image: Picture) -> Picture:
        source = self._source
        if source.profile.xcolor_space == "GRAY":
            if not self._space.gray:
                raise ValueError("a profile of greys, on colours")
            colors = self._transform(image.getchannel(0), source)
            if image.mode == "RGBA":
                colors.putalpha(image.getchannel("A"))
            return colors
        return self._transform(image.convert("RGB") if image.mode == "L" else image, source)

    def _transform(self, image: Picture, source: ImageCms.ImageCmsProfile) -> Picture:
        if image.mode not in self._transforms:
            self._transforms[image.mode] = _build_transform(image.mode, source)
        return _apply(image, self._transforms[image.mode])


def straight(image: Picture) -> Picture:
    """Undo premultiplication: a profile applies to colors without it only."""
    return image.convert("RGBA") if image.mode == "RGBa" else image


def _open(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _changes_nothing(profile: bytes) -> bool:
    """Return whether a profile moves colors by rounding errors only. Takes some ms.

    A coarse cube of colors, or every gray, is tried.
    """
    source = _open(profile)
    match source.profile.xcolor_space:
        case "RGB ":
            levels = [round(255 * step / (_STEPS - 1)) for step in range(_STEPS)]
            cube = bytes(value for r in levels for g in levels for b in levels for value in (r, g, b))
            colors = Image.frombytes("RGB", (_STEPS**3, 1), cube)
        case "GRAY":
            colors = Image.frombytes("L", (256, 1), bytes(range(256)))
        case _:
            return False
    moved = ImageChops.difference(_apply(colors, _build_transform(colors.mode, source)), colors.convert("RGB"))
    return max(value for band in moved.split() for value in band.getextrema() if isinstance(value, int | float)) <= 1


def _build_transform(mode: str, source: ImageCms.ImageCmsProfile) -> ImageCms.ImageCmsTransform:
    into = "RGBA" if mode == "RGBA" else "RGB"
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, into)


def _apply(image: Picture, transform: ImageCms.ImageCmsTransform) -> Picture:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("no conversion")
    return converted


def _plain(image: Picture) -> Picture:
    return image if image.mode in {"RGB", "RGBa", "RGBA"} else image.convert("RGB")
