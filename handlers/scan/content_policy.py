"""Lists the types of content that each asset type may have. The content decides, not the name."""

from handlers.sniff import DICOM
from media.asset import AssetType
from media.errors import Code, RejectedError

ALLOWED: dict[AssetType, frozenset[str]] = {
    AssetType.IMAGE: frozenset(
        {
            "image/jpeg",
            "image/png",
            "image/webp",
            "image/gif",
            "image/bmp",
            "image/tiff",
            "image/avif",
            "image/heic",
            "image/heif",
        }
    ),
    AssetType.VIDEO: frozenset(
        {
            "video/mp4",
            "video/quicktime",
            "video/webm",
            "video/x-matroska",
            "video/x-msvideo",
            "video/mp2t",
            "video/mpeg",
            "video/3gpp",
            "video/x-m4v",
            "video/x-flv",
            "video/x-ms-asf",
            "audio/mp4",
            "video/ogg",
            "audio/ogg",
        }
    ),
    AssetType.AUDIO: frozenset(
        {
            "audio/mpeg",
            "audio/mp4",
            "audio/aac",
            "audio/ogg",
            "audio/flac",
            "audio/wav",
            "audio/webm",
            "video/mp4",
            "video/webm",
            "video/x-matroska",
            "video/quicktime",
            "audio/x-m4a",
            "audio/x-caf",
            "audio/aiff",
            "audio/amr",
            "video/3gpp",
            "video/mp2t",
            "video/mpeg",
            "video/x-flv",
            "video/x-ms-asf",
            "video/x-msvideo",
        }
    ),
    AssetType.DOCUMENT: frozenset({"application/pdf"}),
}
"""Sniffed types by asset type. A container that may hold audio or video is allowed for both; the probe looks inside."""

_READ_TYPES = frozenset().union(*ALLOWED.values())


def require_allowed_content(asset_type: AssetType, sniffed: str | None) -> None:
    """Raise RejectedError unless an asset of this type may have this content.

    The code is `unsupported` for a known format of the right kind that is not read here, else `type_mismatch`.
    """
    if sniffed in ALLOWED[asset_type]:
        return
    kind = "application" if asset_type is AssetType.DOCUMENT else asset_type.value
    found = "image" if sniffed == DICOM else (sniffed or "").split("/")[0]
    if sniffed not in _READ_TYPES and found == kind:
        raise RejectedError(Code.UNSUPPORTED, f"{sniffed} is not read as {asset_type}")
    raise RejectedError(Code.TYPE_MISMATCH, f"announced as {asset_type}, but the content is {sniffed or 'unknown'}")
