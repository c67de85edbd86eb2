"""Pictures made and compared for the tests."""

import io
from pathlib import Path

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

from handlers.image.renderer import RenderedImage

CORPUS = Path(__file__).parents[4] / "../shared/corpus/images"


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Encode a picture. HEIC needs pillow-heif, whose decoder is not registered: the service has another one."""
    out = io.BytesIO()
    if image_format == "HEIF":
        pillow_heif.from_pillow(image).save(out, **options)
    else:
        image.save(out, image_format, **options)
    return out.getvalue()


def opened(rendered: RenderedImage, index: int = -1) -> Image.Image:
    """A rendition, decoded; the largest unless told."""
    image = Image.open(rendered.files[index].path)
    image.load()
    return image


def numbers(image: Image.Image) -> NDArray[np.float64]:
    """Red, green and blue over black, so that colors which cannot be seen are not compared."""
    over_black = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
    return np.asarray(over_black.convert("RGB"), dtype=np.float64)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures, 0 to 255, at the first one's size."""
    if one.size != other.size:
        other = other.convert("RGBA").resize(one.size, Image.Resampling.LANCZOS)
    return float(np.abs(numbers(one) - numbers(other)).mean())


def quarters(size: tuple[int, int] = (240, 160)) -> Image.Image:
    """Four corners that no turn or mirroring can confuse: red, green, blue and gray."""
    width, height = size
    image = Image.new("RGB", size, (128, 128, 128))
    image.paste((220, 30, 30), (0, 0, width // 2, height // 2))
    image.paste((30, 200, 30), (width // 2, 0, width, height // 2))
    image.paste((30, 30, 220), (0, height // 2, width // 2, height))
    return image


def gradient(size: tuple[int, int] = (256, 64)) -> NDArray[np.float64]:
    """Black on the left to white on the right, 0 to 1."""
    width, height = size
    return np.tile(np.linspace(0, 1, width), (height, 1))


def many_scans(count: int = 10_000, size: tuple[int, int] = (400, 300)) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    data = saved(quarters(size), "JPEG", progressive=True)
    at, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[at:end] * count + data[end:]
