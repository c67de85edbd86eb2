"""Decodes JPEGs and resamples with libvips, several times as fast as Pillow. Pillow does the rest.

libvips gets pixels that Pillow decoded, and plain JPEGs that Pillow has opened and found within the limits. All its
other loaders and savers are blocked before the first use. A JPEG is stripped of EXIF, XMP, ICC and all other metadata,
so that no second parser reads them. libvips runs in the same child process, within the same limits, as Pillow. Pillow
decodes every file that libvips refuses, and so decides whether it is damaged. The exception is data that end early:
only libvips passes on libjpeg's warning.
"""

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from handlers.image.containers import jpeg
from handlers.image.geometry import Size
from media.errors import Code, RejectedError

MODES = {"L": 1, "RGB": 3, "RGBa": 4, "CMYK": 4}
"""Modes whose channels may be resampled one by one, and the bytes of a pixel."""
_ROWS = {"RGB": 3, "RGBA": 4}
WORTHWHILE = 200_000
"""Pixels from which libvips is faster. Below, copying them and starting a thread takes longer than Pillow needs."""
_EIGHT_BIT = 255
BAND = 1_000_000
"""Pixels that are converted at once."""
COPIED_WHOLE = 4_000_000
"""Pixels up to which a picture is copied at once, which takes half the time: the largest rendition of a photo."""
_BY_BANDS = frozenset({"P", "PA", "LA", "RGB", "RGBA"})
_ALLOWED = "VipsForeignLoadJpegBuffer"
_CUT = ("premature end of data segment", "found marker 0xd9 instead of RST")
"""libjpeg's warnings when a marker, such as the end, comes before the last block. It paints the rest gray."""
_LEAST_SCALE = 8
_METADATA = {*range(0xE1, 0xEE), 0xEF, 0xFE}
"""APP1 to APP13, APP15 and comments. APP0 and APP14 (JFIF, Adobe) define how colors are stored, and stay."""


@functools.cache
def load() -> Any:
    """Load pyvips, once per process, and block all operations that are not needed here. Raises ImportError, OSError.

    The parent never calls this: a parser of untrusted bytes stays out of the process with the credentials.
    """
    pyvips = importlib.import_module("pyvips")
    for kind in ("VipsForeignLoad", "VipsForeignSave"):
        pyvips.operation_block_set(kind, True)
    pyvips.operation_block_set(_ALLOWED, False)
    pyvips.block_untrusted_set(True)
    pyvips.cache_set_max(0)  # no picture is seen twice
    pyvips.concurrency_set(1)  # the other core encodes, or serves another child
    return pyvips


def decode_shrunk(path: Path, opened: Image.Image, scale: int, size: Size) -> Image.Image | None:
    """Decode a JPEG that Pillow `opened` at 1/`scale`, and resample it to `size` row by row, without turning it.

    Returns None when libvips refuses the file or sees another size than Pillow: then Pillow must decode it. Raises
    RejectedError `corrupt` when the data end before the last row.
    """
    if opened.mode not in {"L", "RGB"}:
        return None
    return _read(path, opened, scale, lambda rows: _resize(rows, opened.mode, size))


def check_whole(path: Path, opened: Image.Image) -> None:
    """Raise RejectedError `corrupt` as `decode_shrunk` does, for a JPEG that Pillow will decode.

    Its data are read twice. When libvips refuses the file, nothing is raised.
    """
    _read(path, opened, _LEAST_SCALE, lambda rows: rows.avg())


def _read[Made](path: Path, opened: Image.Image, scale: int, make: Callable[[Any], Made]) -> Made | None:
    """Return what `make` returns for a JPEG's rows, decoded at 1/`scale`."""
    pyvips, content = load(), bytearray(path.read_bytes())
    if not strip_metadata(content):
        return None
    content += jpeg.END  # a phone may leave it out; rows that are missing are still warned of
    _take_warnings(pyvips)  # of other files
    try:
        rows = pyvips.Image.jpegload_buffer(content, shrink=scale, access="sequential", fail_on="truncated")
        if (rows.width, rows.height) != (opened.width // scale, opened.height // scale):
            return None  # the limit on pixels was checked on what Pillow saw
        made, warnings = make(rows), _take_warnings(pyvips)
    except pyvips.Error as error:  # also after a hundred warnings
        made, warnings = None, str(error)
    if any(text in warnings for text in _CUT):
        raise RejectedError(Code.CORRUPT, "the data end before the last row")
    return made


def _take_warnings(pyvips: Any) -> str:
    """Return and clear libvips' messages. Of libjpeg's warnings it keeps the first."""
    return str(pyvips.Error(""))


def resample(image: Image.Image, size: Size) -> Image.Image | None:
    """Resample a picture in memory to `size` with Lanczos. Returns None when Pillow must do it."""
    return _resample(image, size, image.mode) if image.mode in MODES else None


def resample_rows(rows: Any, mode: str, size: Size, *, of: Size, stride: int) -> Image.Image | None:
    """Resample RGB or RGBA in memory to `size`, without another copy of the whole.

    `rows` is bytes, `of` their width and height, `stride` the bytes of a row. Returns None when Pillow must do it.
    """
    width, height = of
    bands = _ROWS.get(mode)
    if bands is None or width * height < WORTHWHILE:
        return None
    pyvips = load()
    try:
        flat = pyvips.Image.new_from_memory(rows, stride, height, 1, "uchar").crop(0, 0, width * bands, height)
        pixels = flat.bandfold(factor=bands).copy(interpretation="srgb")
        if mode == "RGBA":
            return _resize(pixels.premultiply().cast("uchar"), "RGBa", size)
        return _resize(pixels, mode, size)
    except pyvips.Error as error:  # no file is involved, so only memory can be short
        raise MemoryError(str(error)) from error


def resample_decoded(image: Image.Image, size: Size) -> Image.Image | None:
    """Resample a decoded picture like `resample`, and convert it to RGB or RGBa, a band at a time.

    The picture is held twice at most. Conversions of the whole take five times its memory. Returns None also for modes
    that need other conversions.
    """
    if image.mode not in _BY_BANDS:
        return None
    return _resample(image, size, "RGBa" if image.has_transparency_data else "RGB")


def _resample(image: Image.Image, size: Size, mode: str) -> Image.Image | None:
    if image.width * image.height < WORTHWHILE:
        return None
    # Pillow's tobytes() on a whole picture joins a list of pieces, and so holds all bytes twice.
    stride, rows = image.width * MODES[mode], max(1, BAND // image.width)
    flat: bytes | bytearray
    if image.mode == mode and image.width * image.height <= COPIED_WHOLE:
        flat = image.tobytes()
    else:
        flat = bytearray(stride * image.height)
        for top in range(0, image.height, rows):
            bottom = min(top + rows, image.height)
            band = image.crop((0, top, image.width, bottom))
            if mode == "RGBa" and band.mode != mode:
                band = band.convert("RGBA")
            flat[top * stride : bottom * stride] = (band if band.mode == mode else band.convert(mode)).tobytes()
    pyvips = load()
    pixels = pyvips.Image.new_from_memory(flat, *image.size, MODES[mode], "uchar")
    try:
        return _resize(pixels, mode, size)
    except pyvips.Error as error:  # no file is involved, so only memory can be short
        raise MemoryError(str(error)) from error


def _resize(pixels: Any, mode: str, size: Size) -> Image.Image | None:
    if pixels.bands != MODES[mode] or pixels.format != "uchar":
        return None
    small = pixels.resize(size[0] / pixels.width, vscale=size[1] / pixels.height, kernel="lanczos3")
    if (small.width, small.height) != size:
        return None
    return Image.frombuffer(mode, size, small.write_to_memory(), "raw", mode, 0, 1)


def strip_metadata(content: bytearray) -> bool:
    """Cut the metadata segments out of a JPEG, in place. Returns False when the segments cannot be told apart."""
    kept, end = [content[:2]], 2
    for segment in jpeg.segments(content):
        if segment.start != end:
            return False
        if segment.marker == jpeg.SCAN:
            content[:end] = b"".join(kept)
            return True
        end = segment.end
        if segment.marker not in _METADATA:
            kept.append(content[segment.start : end])
    return False
