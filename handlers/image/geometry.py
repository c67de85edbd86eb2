"""Which renditions a picture gets, and their sizes in pixels."""

import math
from dataclasses import dataclass

WIDTHS = (150, 320, 640, 1024, 1920)
PREVIEW_WIDTH = 1024
"""Pixels: the widest picture of a document's first page."""
PAGE_WIDTH = 1280
"""Pixels: the width of `page-1`, `page-2` …."""
PAGE_PIXELS = 4_000_000
"""Pixels of one page: one that is more than three times as tall as wide is made narrower."""
WEBP_SIDE = 16_383
"""Pixels: the longest side that WebP can express (14 bits)."""

type Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Target:
    """One rendition to be made. `size` is pixels."""

    name: str
    size: Size


def targets(width: int, height: int) -> tuple[Target, ...]:
    """List the renditions of an upright picture, smallest first. Nothing is enlarged.

    The first name that is not narrower than the source is made at the source's width. Wider names are not made. A
    picture too tall for WebP is treated as the largest one of its shape that fits.
    """
    widest = width if height <= WEBP_SIDE else max(1, width * WEBP_SIDE // height)
    chosen = []
    for name in WIDTHS:
        at = min(name, widest)
        chosen.append(Target(f"w{name}", (at, min(WEBP_SIDE, max(1, round(height * at / width))))))
        if name >= widest:
            break
    return tuple(chosen)


def page_size(width: float, height: float, widest: int) -> Size:
    """Return the pixels of a page of any unit, `widest` at most: its shape, within the bounds on pixels and sides."""
    scale = min(widest / width, WEBP_SIDE / height, math.sqrt(PAGE_PIXELS / width / height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def turned(size: Size, orientation: int) -> Size:
    """Return a size as it is after (or before) the turn that an EXIF orientation asks for."""
    return (size[1], size[0]) if orientation >= 5 else size  # 5 to 8 swap the axes
