"""The sources of the image benchmark, made from a real photo."""

import io
from pathlib import Path

from PIL import Image, ImageOps

CORPUS = Path(__file__).parents[2] / "../shared/corpus/images"
ORIENTATION = 0x0112


def make_sources(folder: Path) -> dict[str, Path]:
    """Write the four sources and return them by name. Raises FileNotFoundError without the corpus."""
    with Image.open(CORPUS / "orientation/Landscape_1.jpg") as photo:
        tile = photo.convert("RGB")
    with Image.open(CORPUS / "good/p3.png") as p3:
        profile = p3.info["icc_profile"]
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    twelve, portrait = _tiled(tile, (4000, 3000)), _tiled(tile, (4032, 3024))
    return {
        "jpeg-12mp": _written(folder / "12.jpg", twelve, quality=90),
        "jpeg-24mp": _written(folder / "24.jpg", _tiled(tile, (6000, 4000)), quality=90),
        "p3-portrait": _written(folder / "p3.jpg", portrait, quality=90, icc_profile=profile, exif=exif),
        "png-rgba": _written(folder / "alpha.png", _with_alpha(_tiled(tile, (3000, 2000))), compress_level=3),
    }


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
