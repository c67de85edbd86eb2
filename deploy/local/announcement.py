"""What a client says about a file before it uploads it: asset type and content type, as a browser would tell them."""

import mimetypes
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "application/octet-stream"
HEAD_BYTES = 32

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

# A file without a suffix: offset of a signature, the signature, the type.
SIGNATURES = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftyphei", "image/heic"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (8, b"WAVE", "audio/wav"),
    (0, b"%PDF-", "application/pdf"),
)


@dataclass(frozen=True, slots=True)
class Announcement:
    """The API decides whether it takes such a thing."""

    asset_type: str
    content_type: str


def announce(path: Path, asset_type: str | None = None) -> Announcement:
    """Read the types off the file's name, or off its first bytes when the name has no suffix.

    `asset_type` overrides what the content type suggests. Raises OSError when the file cannot be read.
    """
    content_type = _by_name(path) if path.suffix else _by_signature(path)
    if asset_type == "audio" and content_type in {"video/mp4", "video/webm"}:
        content_type = content_type.replace("video/", "audio/")  # a container of both kinds
    top = content_type.partition("/")[0]
    return Announcement(asset_type or (top if top in {"image", "video", "audio"} else "document"), content_type)


def _by_name(path: Path) -> str:
    return BY_SUFFIX.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or UNKNOWN


def _by_signature(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return next((kind for at, mark, kind in SIGNATURES if head[at : at + len(mark)] == mark), UNKNOWN)
