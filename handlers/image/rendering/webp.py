"""Writes WebP files: stills and animations, without any metadata."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from handlers.image.decoding.source import WEBP_ALPHA, WEBP_FLAGS
from handlers.image.protocol import MadeFile


@dataclass(frozen=True, slots=True)
class EncodingEffort:
    """libwebp's parameters: `quality` 0 to 100; `method` 0 to 6, from fast to dense; `lossless` for every pixel."""

    quality: float
    method: int
    lossless: bool = False


THOROUGH = EncodingEffort(quality=80, method=4)
"""For the largest rendition and for alpha. Method 3 costs the same time."""
QUICK = EncodingEffort(quality=80.5, method=2)
"""Half the time of `THOROUGH`; 3 to 6 % more bytes, and up to 0.002 less SSIM. Quality 80 would lose 0.004."""
EXACT = EncodingEffort(quality=80, method=4, lossless=True)
"""For icons, stamps and other pictures so small that WebP's halved color resolution shows."""
_SMALL = 128 * 128
"""Pixels of a picture up to which it is kept exactly. That is 64 KB at most."""
_OUT_OF_MEMORY = "encoding error 1"


def effort_for(image: Image.Image, *, largest: bool) -> EncodingEffort:
    """Choose quick encoding for small renditions. Quick encoding makes an alpha channel larger by a tenth.

    Where the largest rendition is small, the picture is, and it is kept exactly.
    """
    if largest and image.width * image.height <= _SMALL:
        return EXACT
    return THOROUGH if largest or image.mode != "RGB" else QUICK


def write_still(image: Image.Image, name: str, folder: Path, effort: EncodingEffort) -> MadeFile:
    """Encode one picture. Raises MemoryError at the limit of address space."""
    path = folder / f"{name}.webp"
    _save(_prepare(image), path, effort, save_all=False)
    return MadeFile(name, *image.size, path.stat().st_size)


def write_animation(
    frames: Sequence[Image.Image], durations: Sequence[int], loop: int, name: str, folder: Path
) -> MadeFile:
    """Encode an animation. `durations` are milliseconds, `loop` is the number of plays, 0 for ever."""
    path = folder / f"{name}.webp"
    first, *rest = (_prepare(frame) for frame in frames)
    shown = {"append_images": rest, "duration": list(durations), "loop": loop, "background": (0, 0, 0, 0)}
    _save(first, path, THOROUGH, save_all=True, **shown)
    if any(frame.mode == "RGBA" for frame in (first, *rest)):
        # libwebp cuts frames to what is drawn. If that is opaque it says that the picture is, and some readers obey.
        with path.open("r+b") as file:
            file.seek(WEBP_FLAGS)
            flags = file.read(1)[0]
            file.seek(WEBP_FLAGS)
            file.write(bytes([flags | WEBP_ALPHA]))
    return MadeFile(name, *first.size, path.stat().st_size)


def _prepare(image: Image.Image) -> Image.Image:
    """Undo premultiplication and drop metadata; the picture itself is not changed."""
    clean = image.convert("RGBA") if image.mode == "RGBa" else image.copy() if image.info else image
    clean.info.clear()
    return clean


def _save(image: Image.Image, path: Path, effort: EncodingEffort, **options: object) -> None:
    options |= asdict(effort)
    try:
        image.save(path, "WEBP", icc_profile=b"", exif=b"", xmp=b"", **options)
    except ValueError as error:
        if _OUT_OF_MEMORY in str(error):
            raise MemoryError(str(error)) from error
        raise
