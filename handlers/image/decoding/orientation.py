"""Reads the orientation in which a picture is meant to be shown."""

import re

from PIL import ImageFile

from handlers.image.decoding.source import decoding

_ORIENTATION = 0x0112
_UPRIGHT = 1
_XMP = re.compile(r"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])\b""")
"""The orientation as an attribute, in either kind of quotes, or as an element. Pillow knows one kind only."""


def orientation_of(image: ImageFile.ImageFile) -> int:
    """Return 1 to 8, by EXIF, else by XMP; 1 when neither can be read.

    Pillow turns a TIFF while decoding it, and libheif a HEIC: their metadata are ignored.
    """
    if image.format in {"TIFF", "PNG"}:  # a PNG may carry its metadata behind the pixels
        with decoding():
            image.load()
    if image.format == "TIFF":
        return _UPRIGHT
    try:
        value = image.getexif().get(_ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - metadata damaged in any way cost the turn and not the picture
        return _UPRIGHT
    if value is None and image.format != "HEIF":
        xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or ""
        found = _XMP.search(xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp))
        value = int(found[1]) if found else _UPRIGHT
    return value if isinstance(value, int) and _UPRIGHT <= value <= 8 else _UPRIGHT  # EXIF's range
