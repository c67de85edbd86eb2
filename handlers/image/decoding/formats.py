"""The types of pictures that are read, and the Pillow decoders for each."""

from handlers.sniff import DICOM, sniff
from media.errors import Code, RejectedError

DECODERS: dict[str, tuple[str, ...]] = {
    "image/jpeg": ("JPEG",),  # opens an MPO as an MPO, too
    "image/png": ("PNG",),
    "image/webp": ("WEBP",),
    "image/gif": ("GIF",),
    "image/bmp": ("BMP",),
    "image/tiff": ("TIFF",),
    "image/avif": ("AVIF",),
    "image/heic": ("HEIF",),
    "image/heif": ("HEIF",),
}
"""Decoders by true type. Formats that fetch, execute or delegate stay out: SVG, EPS, PDF."""
_OTHERS = frozenset({"application/pdf", "application/postscript", DICOM})
"""Formats of pictures and pages whose types do not begin with `image/`."""


def recognize(head: bytes) -> str:
    """Return the true type of a picture by its first 4 KiB.

    Raises RejectedError: `empty`; `unsupported` for a picture or document of another format; `type_mismatch` for
    anything else.
    """
    if not head:
        raise RejectedError(Code.EMPTY)
    found = sniff(head)
    if found in DECODERS:
        return found
    if found and (found.startswith("image/") or found in _OTHERS):
        raise RejectedError(Code.UNSUPPORTED, f"the content is {found}, which is not read")
    raise RejectedError(Code.TYPE_MISMATCH, f"the content is {found or 'of no known type'}, not a picture")
