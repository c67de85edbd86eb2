"""Which way up a picture is meant to be shown."""

import re

from PIL import ImageFile

from handlers.image.decoding.source import decoding

_ORIENTATION = 0x0112
_UPRIGHT = 1
_XMP = re.compile(r"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])\b""")
"""As an attribute, in either kind of quotes, or as an element. Pillow knows one kind only."""


def orientation_of(image: ImageFile.ImageFile) -> int:
    """1 to 8, by EXIF, else by XMP; 1 when neither can be read.

    PNG may carry it behind the pixels, so that one is decoded here; Pillow turns a TIFF while decoding it, and libheif
    a HEIC, where what the metadata say counts nothing.
    """
    if image.format in {"TIFF", "PNG"}:
        with decoding():
            image.load()
    if image.format == "TIFF":
        return _UPRIGHT
    try:
        value = image.getexif().get(_ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - damaged metadata, in whatever way, costs the turn and not the picture
        return _UPRIGHT
    if value is None and image.format != "HEIF":
        told = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or ""
        found = _XMP.search(told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told))
        value = int(found[1]) if found else _UPRIGHT
    return value if isinstance(value, int) and _UPRIGHT <= value <= 8 else _UPRIGHT  # EXIF's range
