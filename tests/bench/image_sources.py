"""The sources of the image benchmark, made of noise that is as smooth and as rough as a photo."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from handlers.image.color.profiles import SRGB_CURVE, Primaries, profile_of

ORIENTATION = 0x0112
P3 = Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
TILE = (1800, 1200)


def make_sources(folder: Path) -> dict[str, Path]:
    """Write the four sources and return them by name."""
    tile, profile = _photo(TILE), profile_of(P3, SRGB_CURVE, gray=False)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    twelve, portrait = _tiled(tile, (4000, 3000)), _tiled(tile, (4032, 3024))
    return {
        "jpeg-12mp": _written(folder / "12.jpg", twelve, quality=90),
        "jpeg-24mp": _written(folder / "24.jpg", _tiled(tile, (6000, 4000)), quality=90),
        "p3-portrait": _written(folder / "p3.jpg", portrait, quality=90, icc_profile=profile, exif=exif),
        "png-rgba": _written(folder / "alpha.png", _with_alpha(_tiled(tile, (3000, 2000))), compress_level=3),
    }


def _photo(size: tuple[int, int]) -> Image.Image:
    """Sum noise of every scale, each half as strong as the next coarser one, as in photos."""
    random, (width, height) = np.random.default_rng(7), size
    total = np.zeros((height, width, 3))
    for octave in range(2, 11):
        sides = max(2, width >> (10 - octave)), max(2, height >> (10 - octave))
        noise = random.integers(0, 256, (sides[1], sides[0], 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        total += (np.asarray(layer, dtype=np.float64) - 127.5) / 2 ** (octave - 2)
    return Image.fromarray(np.clip(total + 127.5, 0, 255).astype(np.uint8))


def _tiled(tile: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Tile the photo, mirrored at every seam so that no edges appear."""
    across, down = -(-size[0] // tile.width), -(-size[1] // tile.height)
    sheet = Image.new("RGB", size)
    for y in range(down):
        for x in range(across):
            piece = ImageOps.mirror(tile) if x % 2 else tile
            sheet.paste(ImageOps.flip(piece) if y % 2 else piece, (x * tile.width, y * tile.height))
    return sheet


def _with_alpha(image: Image.Image) -> Image.Image:
    soft = Image.radial_gradient("L").resize(image.size)
    image.putalpha(ImageOps.invert(soft))
    return image


def _written(path: Path, image: Image.Image, **options: object) -> Path:
    out = io.BytesIO()
    image.save(out, "PNG" if path.suffix == ".png" else "JPEG", **options)
    path.write_bytes(out.getvalue())
    return path
