"""The SSIM of a rendition to the best possible one: float Lanczos from the full picture, without encoding."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

type Floats = NDArray[np.float64]

_WINDOW = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


class Reference:
    """One source, decoded in full, upright and in sRGB, with alpha premultiplied."""

    def __init__(self, source: Path) -> None:
        with Image.open(source) as image:
            profile = image.info.get("icc_profile")
            upright = ImageOps.exif_transpose(image)
        if profile:
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            upright = ImageCms.profileToProfile(upright, given, ImageCms.createProfile("sRGB")) or upright
        self._luma = _luma(upright)

    def ssim(self, rendition: Path) -> float:
        """Compute the mean SSIM of the luma (Wang et al. 2004: Gaussian window of 11, sigma 1.5)."""
        with Image.open(rendition) as image:
            image.load()
        best = Image.fromarray(self._luma.astype(np.float32)).resize(image.size, Image.Resampling.LANCZOS)
        return _ssim(np.asarray(best, dtype=np.float64), _luma(image))


def _luma(image: Image.Image) -> Floats:
    over_black = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
    red, green, blue, _ = np.moveaxis(np.asarray(over_black, dtype=np.float32), 2, 0)
    luma: Floats = np.asarray(0.299 * red + 0.587 * green + 0.114 * blue, dtype=np.float64)
    return luma


def _ssim(one: Floats, other: Floats) -> float:
    mean_one, mean_other = _blur(one), _blur(other)
    var_one = _blur(one * one) - mean_one**2
    var_other = _blur(other * other) - mean_other**2
    covariance = _blur(one * other) - mean_one * mean_other
    likeness = (2 * mean_one * mean_other + _C1) * (2 * covariance + _C2)
    return float((likeness / ((mean_one**2 + mean_other**2 + _C1) * (var_one + var_other + _C2))).mean())


def _blur(values: Floats) -> Floats:
    window = _WINDOW / _WINDOW.sum()
    height, width = values.shape[0] - 10, values.shape[1] - 10
    rows = np.zeros((values.shape[0], width))
    for at, weight in enumerate(window):
        rows += weight * values[:, at : at + width]
    blurred = np.zeros((height, width))
    for at, weight in enumerate(window):
        blurred += weight * rows[at : at + height]
    return blurred
