"""Opens a picture and decodes it: the only steps that touch untrusted bytes."""

import errno
import io
import math
import mmap
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pi_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from handlers.image.containers import isobmff, jpeg, png
from handlers.image.containers.png_pixels import deep_key
from handlers.image.containers.png_pixels import pixel_parts as png_parts
from handlers.image.containers.spliced import Part, SplicedFile
from handlers.image.decoding.formats import DECODERS
from handlers.image.decoding.gif import clear_background
from handlers.image.decoding.variants import refuse_variant
from handlers.image.geometry import Size
from media.errors import Code, RejectedError

HEADROOM = 1.5
"""A reduced decode keeps the sides this many times the largest rendition's. Less costs sharpness, more costs time."""
TEXT_CHUNK = 8 * 1024 * 1024
"""Bytes of one inflated PNG text chunk, at most. Photoshop's XMP fits, a zip bomb does not."""
JPEGS = frozenset({"JPEG", "MPO"})

_COUNTED = {"JPEG": 1 / 4, "MPO": 1 / 4, "HEIF": 1 / 2}
"""Share of the pixels that counts against the limit, which is about what decoding takes.

A JPEG is decoded at a reduced scale and a HEIC is not copied: 200 megapixels take less than 100 of the others.
"""
_ALL_COEFFICIENTS = 1 / 2
"""The same of a progressive JPEG, of which all coefficients are held."""
_SMALLER = "send a copy of fewer pixels, or as a plain (baseline) JPEG"

_PLUGINS = (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
"""Imported by name. Otherwise Pillow imports all plugins at the first need, in any thread, and skips failures."""
WEBP_FLAGS, WEBP_ALPHA, _WEBP_ANIMATED = 20, 0x10, 0x02
"""Offset of the byte of a WebP's header that tells what it holds, and two of its bits."""
_LOWER_BYTES = "RGB;16L"
"""Pillow's name for colors of 16-bit samples whose lower byte comes first. PNG has the upper one first."""
_MACHINE_ERRORS = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ESTALE}
)
"""Errors of the machine. Others are the file's, such as a seek to an offset that it names."""

type Box = tuple[float, float, float, float]


def prepare_decoders() -> None:
    """Set Pillow up for a child process: one decoding thread, and bombs and truncated files are errors."""
    Image.preinit()
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    PngImagePlugin.MAX_TEXT_CHUNK = TEXT_CHUNK
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)


@contextmanager
def opened(path: Path, content_type: str, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open a picture with the decoder of its true type and no other. Raises the errors of `decoding`."""
    if content_type == "image/webp":
        _check_canvas(path, max_pixels)
    # Pillow checks every frame and tile, not only the first. This is the most that any picture of the type may have.
    Image.MAX_IMAGE_PIXELS = round(max_pixels / min(_COUNTED.get(name, 1) for name in DECODERS[content_type]))
    with ExitStack() as stack:
        with decoding():
            file = stack.enter_context(path.open("rb"))
            refuse_variant(file, content_type)
            file.seek(0)
            if parts := needed_parts(file, content_type):
                file = stack.enter_context(io.BufferedReader(SplicedFile(file, parts), png.STEP))
            image = stack.enter_context(Image.open(file, formats=DECODERS[content_type]))
            image.filename = os.fspath(path)
        yield image


def needed_parts(file: BinaryIO, content_type: str) -> list[Part]:
    """Return what the pixels, colors and orientation need, so that no other byte costs the picture; empty for all."""
    match content_type:
        case "image/png":
            return png_parts(file)
        case "image/avif" | "image/heic" | "image/heif":
            return isobmff.pixel_parts(file)
        case "image/jpeg":
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return jpeg.pixel_parts(content)
        case "image/webp":
            return webp_parts(file)
    return []


def webp_parts(file: BinaryIO) -> list[Part]:
    """Return the parts of an animated WebP with the mark of one that has alpha.

    Writers leave the mark out where all frames are opaque, though they may not cover the canvas, which is clear.
    """
    head = file.read(WEBP_FLAGS + 1)
    if len(head) <= WEBP_FLAGS or head[12:16] != b"VP8X" or not head[WEBP_FLAGS] & _WEBP_ANIMATED:
        return []
    rest = file.seek(0, os.SEEK_END) - len(head)
    return [(0, WEBP_FLAGS), bytes([head[WEBP_FLAGS] | WEBP_ALPHA]), (len(head), rest)]


def _check_canvas(path: Path, max_pixels: int) -> None:
    """Check the header of a WebP. Its decoder allocates the whole canvas while it opens the file."""
    with path.open("rb") as file:
        head = file.read(30)
    sides = {
        b"VP8X": (int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1),
        b"VP8L": tuple((int.from_bytes(head[21:25], "little") >> shift & 0x3FFF) + 1 for shift in (0, 14)),
        b"VP8 ": tuple(int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28)),
    }
    width, height = sides.get(head[12:16], (0, 0))
    if width * height > max_pixels:
        raise _too_many(width, height, max_pixels)


def _too_many(width: int, height: int, most: float) -> RejectedError:
    return RejectedError(
        Code.TOO_MANY_PIXELS, f"{width}×{height} pixels; at most {round(most)} are read of this format: {_SMALLER}"
    )


@contextmanager
def decoding() -> Iterator[None]:
    """Translate the errors of decoders.

    Raises RejectedError; MemoryError at the limit of address space; OSError for the machine's fault.
    """
    try:
        yield
    except (RejectedError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = Image.MAX_IMAGE_PIXELS
        raise RejectedError(Code.TOO_MANY_PIXELS, f"more than {most} pixels: {_SMALLER}") from error
    except UnidentifiedImageError as error:
        raise RejectedError(Code.CORRUPT, "the content begins like its type but is not of it") from error
    except Exception as error:
        # On untrusted bytes decoders raise any exception. All of them mean that the file is damaged.
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
            raise
        if "memory" in text.lower() or getattr(error, "errno", None) == errno.ENOMEM:
            raise MemoryError(text) from error
        code = Code.RESOURCE_LIMIT if "Decompressed data too large" in text else Code.CORRUPT
        code = Code.UNSUPPORTED if "Unsupported BMP" in text else code
        raise RejectedError(code, text) from error


def check_limits(image: ImageFile.ImageFile, max_pixels: int, max_total_pixels: int) -> int:
    """Return the number of frames of a picture within the limits. Raises RejectedError for any other."""
    width, height = image.size
    if width < 1 or height < 1:
        raise RejectedError(Code.CORRUPT, f"{width}×{height} pixels")
    counted = _ALL_COEFFICIENTS if image.info.get("progressive") else _COUNTED.get(image.format or "", 1)
    if width * height * counted > max_pixels:
        raise _too_many(width, height, max_pixels / counted)
    frames = count_frames(image)
    if frames > 1 and frames * width * height > max_total_pixels:
        detail = f"{frames} frames of {width}×{height} pixels; at most {max_total_pixels} pixels are read in all"
        raise RejectedError(Code.TOO_MANY_PIXELS, detail)
    return frames


def count_frames(image: ImageFile.ImageFile) -> int:
    """Return the frames of an animation; 1 for everything else, a TIFF of several pages and an MPO included."""
    if image.format not in {"GIF", "WEBP", "PNG", "AVIF"}:
        return 1
    with decoding():
        return max(1, int(getattr(image, "n_frames", 1)))


def reduced_scale(size: Size, largest: Size) -> int:
    """Return the largest of 1, 2, 4 and 8 by which a JPEG's decoder may divide `size` and keep enough for `largest`."""
    room = min(size[0] // math.ceil(largest[0] * HEADROOM), size[1] // math.ceil(largest[1] * HEADROOM))
    return max((scale for scale in (2, 4, 8) if scale <= room), default=1)


def decode(image: ImageFile.ImageFile, largest: Size) -> Box:
    """Decode the first frame and return the part of it that is picture.

    A JPEG is decoded at a reduced scale where that is enough. Raises RejectedError `corrupt` when a PNG's data end in
    good order before its last row.
    """
    box: Box | None = None
    if image.format in JPEGS:
        reduced = image.draft(None, (math.ceil(largest[0] * HEADROOM), math.ceil(largest[1] * HEADROOM)))
        box = reduced[1] if reduced else None
    if isinstance(image, WebPImagePlugin.WebPImageFile | AvifImagePlugin.AvifImageFile):
        image._decoder = _LastFrame(image._decoder)  # noqa: SLF001 - Pillow, whose version is pinned, has no other door
    with decoding():
        image.load()
        clear_background(image)
        if image.format == "PNG":
            # Pillow leaves missing rows empty. To count the rows they must be unpacked again.
            last = image.crop((0, image.height - 1, *image.size)).tobytes()
            with Path(os.fsdecode(image.filename)).open("rb") as file:
                may_lack_rows = not any(last) or png.is_interlaced(file)
                if may_lack_rows and not png.has_all_rows(file):
                    raise RejectedError(Code.CORRUPT, "the data end before the last row")
            apply_deep_key(image)
    return box or (0, 0, *image.size)


def apply_deep_key(image: ImageFile.ImageFile) -> None:
    """Make the one transparent color of a decoded PNG of 16-bit colors so, and no color like it.

    Pillow decodes the upper bytes of samples, and the lower ones when told that they come first: both are compared.
    """
    if image.mode != "RGB" or not isinstance(image.info.get("transparency"), tuple):
        return
    with ExitStack() as stack:
        file = stack.enter_context(Path(os.fsdecode(image.filename)).open("rb"))
        key = deep_key(file)
        if key is None:
            return
        spliced = io.BufferedReader(SplicedFile(file, png_parts(file)), png.STEP)
        lower = stack.enter_context(Image.open(spliced, formats=DECODERS["image/png"]))
        lower.tile = [lower.tile[0]._replace(args=_LOWER_BYTES)]
        clear = _mask_of(lower, [value & 0xFF for value in key])
    clear = ImageChops.darker(clear, _mask_of(image, [value >> 8 for value in key]))
    image.putalpha(ImageChops.invert(clear))
    del image.info["transparency"]


def _mask_of(image: Image.Image, color: Sequence[int]) -> Image.Image:
    """Return white where a picture has this color, else black."""
    mask = Image.new("L", image.size, 255)
    for band, value in enumerate(color):
        same = image.getchannel(band).point([255 * (sample == value) for sample in range(256)])
        mask = ImageChops.darker(mask, same)
    return mask


def decode_heif(path: Path) -> pi_heif.HeifImage:
    """Decode the primary picture of a HEIC to 8 bits; its pixels lie in the decoder's own memory."""
    with path.open("rb") as file:
        whole = SplicedFile(file, isobmff.pixel_parts(file)).readall()
    pictures = pi_heif.open_heif(whole, convert_hdr_to_8bit=True, remove_stride=False)
    picture = pictures[pictures.primary_index]
    picture.load()
    return picture


class _LastFrame:
    """Wraps the decoder of a WebP or AVIF and frees it, and canvases of twice the picture's size, after one frame."""

    def __init__(self, decoder: Any) -> None:
        self._decoders = [decoder]

    def get_next(self) -> Any:
        return self._decoders.pop().get_next()

    def get_frame(self, number: int) -> Any:
        return self._decoders.pop().get_frame(number)
