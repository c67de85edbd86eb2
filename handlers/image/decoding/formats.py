"""The allow-list: which true types are read, and by which of Pillow's decoders."""

from handlers.sniff import sniff
from media.errors import Code, RejectedError

DECODERS: dict[str, tuple[str, ...]] = {
    "image/jpeg": ("JPEG",),  # opens an MPO as what it is, too
    "image/png": ("PNG",),
    "image/webp": ("WEBP",),
    "image/gif": ("GIF",),
    "image/tiff": ("TIFF",),
    "image/avif": ("AVIF",),
    "image/heic": ("HEIF",),
    "image/heif": ("HEIF",),
}
"""No format that fetches, executes or delegates: SVG, EPS and PDF stay out."""


def recognise(head: bytes) -> str:
    """The true type of a picture by its first 4 KiB.

    Raises RejectedError: `empty`; `unsupported` for a picture or document of another format; `type_mismatch` for
    anything else.
    """
    if not head:
        raise RejectedError(Code.EMPTY)
    found = sniff(head)
    if found in DECODERS:
        return found
    if found and (found.startswith("image/") or found in {"application/pdf", "application/postscript"}):
        raise RejectedError(Code.UNSUPPORTED, f"the content is {found}, which is not read")
    raise RejectedError(Code.TYPE_MISMATCH, f"the content is {found or 'of no known type'}, not a picture")
