"""What a client says about a file before it uploads it: asset type and content type, as a browser would tell them."""

import mimetypes
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from handlers.scan.content_policy import ALLOWED
from handlers.sniff import HEAD_BYTES, sniff

UNKNOWN = "application/octet-stream"

# What the platform's own table may lack or name differently from browsers.
BY_SUFFIX = {
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}

UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of characters that neither a terminal nor JSON should meet: control characters, stray surrogates."""

READABLE = frozenset().union(*ALLOWED.values())


@dataclass(frozen=True, slots=True)
class Announcement:
    """The API decides whether it takes such a thing."""

    asset_type: str
    content_type: str


def announce(path: Path, asset_type: str | None = None) -> Announcement:
    """Read the types off the file's name, or off its first bytes when the name tells of nothing that is read.

    `asset_type` overrides what the content type suggests. Raises OSError when the file cannot be read.
    """
    content_type = _by_name(path)
    if content_type not in READABLE:
        content_type = _by_content(path) or content_type
    if asset_type == "audio" and content_type in {"video/mp4", "video/webm"}:
        content_type = content_type.replace("video/", "audio/")  # a container of both kinds
    top = content_type.partition("/")[0]
    return Announcement(asset_type or (top if top in {"image", "video", "audio"} else "document"), content_type)


def printable(path: Path | str) -> str:
    """Return a path as text that can be shown and sent: bytes that are no UTF-8, and line ends, become U+FFFD."""
    return "".join("\ufffd" if unicodedata.category(c) in UNPRINTABLE else c for c in str(path))


def _by_name(path: Path) -> str:
    return BY_SUFFIX.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or UNKNOWN


def _by_content(path: Path) -> str | None:
    with path.open("rb") as file:
        found = sniff(file.read(HEAD_BYTES))
    return found if found in READABLE else None
