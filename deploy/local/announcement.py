"""The asset type and content type that a client announces before an upload, as a browser would name them."""

import mimetypes
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from handlers.image.containers.isobmff import boxes
from handlers.scan.content_policy import ALLOWED
from handlers.sniff import HEAD_BYTES, sniff

UNKNOWN_TYPE = "application/octet-stream"

# Types that the platform's own table may lack or name differently from browsers.
TYPE_BY_SUFFIX = {
    ".3gp": "video/3gpp",
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
    ".wma": "audio/x-ms-wma",
}

UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories to keep from terminals and JSON: control characters, lone surrogates, line separators."""

SOUND_IN = {
    "video/mp4": "audio/mp4",
    "video/quicktime": "audio/mp4",
    "video/x-m4v": "audio/mp4",
    "video/3gpp": "audio/3gpp",
    "video/webm": "audio/webm",
}
"""What a container for pictures or sound is called where it holds sound alone."""
BOX_FILES = SOUND_IN.keys() - {"video/webm"}

ALLOWED_TYPES = frozenset().union(*ALLOWED.values())


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a client announces. The API decides whether to accept it."""

    asset_type: str
    content_type: str


def announce(path: Path, asset_type: str | None = None) -> Announcement:
    """Read the types from the file's name, or from its first bytes if the name gives no allowed type.

    `asset_type` overrides what the content type suggests. Raises OSError when the file cannot be read.
    """
    named = TYPE_BY_SUFFIX.get(path.suffix.lower())
    content_type = named or mimetypes.guess_type(path.name)[0] or UNKNOWN_TYPE
    if not named and content_type not in ALLOWED_TYPES:
        with path.open("rb") as file:
            found = sniff(file.read(HEAD_BYTES))
        content_type = found if found in ALLOWED_TYPES else content_type
    if asset_type is None and content_type in BOX_FILES and holds_sound_alone(path):
        asset_type = "audio"
    if asset_type == "audio":
        content_type = SOUND_IN.get(content_type, content_type)
    top = content_type.partition("/")[0]
    return Announcement(asset_type or (top if top in {"image", "video", "audio"} else "document"), content_type)


def holds_sound_alone(path: Path) -> bool:
    """Tell whether an MP4, QuickTime or 3GP file has tracks of sound and none of pictures, as a voice memo has."""
    with path.open("rb") as file:
        kinds = {file.read(12)[8:] for box in boxes(file) if box.name == b"hdlr"}
    return b"soun" in kinds and b"vide" not in kinds


def printable(path: Path | str) -> str:
    """Return a path as text that can be shown and sent: invalid UTF-8 and control characters become U+FFFD."""
    return "".join("\ufffd" if unicodedata.category(c) in UNPRINTABLE else c for c in str(path))
