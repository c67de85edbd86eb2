"""The content types that an upload may announce, and other names for them."""

from media.asset import AssetType

CONTENT_TYPES = {
    AssetType.IMAGE: frozenset(
        {
            "image/jpeg",
            "image/png",
            "image/webp",
            "image/gif",
            "image/avif",
            "image/heic",
            "image/heif",
            "image/tiff",
            "image/bmp",
        }
    ),
    AssetType.VIDEO: frozenset(
        {
            "video/mp4",
            "video/quicktime",
            "video/webm",
            "video/x-matroska",
            "video/x-m4v",
            "video/mpeg",
            "video/mp2t",
            "video/x-msvideo",
            "video/3gpp",
            "video/ogg",
            "video/x-flv",
            "video/x-ms-wmv",
        }
    ),
    AssetType.AUDIO: frozenset(
        {
            "audio/mpeg",
            "audio/mp4",
            "audio/x-m4a",
            "audio/aac",
            "audio/wav",
            "audio/x-wav",
            "audio/wave",
            "audio/vnd.wave",
            "audio/flac",
            "audio/x-flac",
            "audio/ogg",
            "audio/opus",
            "audio/webm",
            "audio/amr",
            "audio/3gpp",
            "audio/x-ms-wma",
            "audio/aiff",
            "audio/x-caf",
        }
    ),
    AssetType.DOCUMENT: frozenset({"application/pdf"}),
}
"""Content types that may be announced. The real type is read from the file's bytes later."""
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/apng": "image/png",
    "image/x-png": "image/png",
    "image/tif": "image/tiff",
    "image/x-tiff": "image/tiff",
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
    "image/heic-sequence": "image/heic",
    "image/heif-sequence": "image/heif",
    "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-mpeg": "audio/mpeg",
    "audio/m4a": "audio/mp4",
    "audio/x-aac": "audio/aac",
    "audio/x-ogg": "audio/ogg",
    "audio/vnd.dlna.adts": "audio/aac",
    "audio/x-opus+ogg": "audio/opus",
    "audio/x-vorbis+ogg": "audio/ogg",
    "audio/amr-nb": "audio/amr",
    "audio/amr-wb": "audio/amr",
    "audio/amr-wb+": "audio/amr",
    "audio/x-amr": "audio/amr",
    "audio/3gp": "audio/3gpp",
    "audio/3gpp2": "audio/3gpp",
    "audio/wma": "audio/x-ms-wma",
    "audio/x-wma": "audio/x-ms-wma",
    "audio/x-aiff": "audio/aiff",
    "audio/caf": "audio/x-caf",
    "video/flv": "video/x-flv",
    "video/wmv": "video/x-ms-wmv",
    "video/x-ms-asf": "video/x-ms-wmv",
    "video/avi": "video/x-msvideo",
    "video/vnd.avi": "video/x-msvideo",
    "video/x-avi": "video/x-msvideo",
    "video/msvideo": "video/x-msvideo",
    "video/3gpp2": "video/3gpp",
    "video/3gp": "video/3gpp",
    "video/x-mpeg": "video/mpeg",
    "video/vnd.dlna.mpeg-tts": "video/mp2t",
    "video/mkv": "video/x-matroska",
    "video/matroska": "video/x-matroska",
    "video/mov": "video/quicktime",
    "application/x-pdf": "application/pdf",
}
"""Other names that browsers, systems and phones have for the same formats."""
_NO_TYPE = "application/octet-stream"
ANNOUNCED = sorted({*_ALIASES, _NO_TYPE}.union(*CONTENT_TYPES.values()))
"""Every name that an upload may give its content type."""
_SUFFIXES = {
    AssetType.IMAGE: {
        **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif", "mpo"), "image/jpeg"),
        **dict.fromkeys(("png", "apng"), "image/png"),
        **dict.fromkeys(("tif", "tiff"), "image/tiff"),
        **{name: f"image/{name}" for name in ("webp", "gif", "avif", "heic", "heif", "bmp")},
    },
    AssetType.VIDEO: {
        "mp4": "video/mp4",
        **dict.fromkeys(("3gp", "3g2", "3gpp"), "video/3gpp"),
        **dict.fromkeys(("mpg", "mpeg"), "video/mpeg"),
        **dict.fromkeys(("ts", "mts", "m2ts"), "video/mp2t"),
        "mov": "video/quicktime",
        "webm": "video/webm",
        "ogv": "video/ogg",
        "mkv": "video/x-matroska",
        "m4v": "video/x-m4v",
        "avi": "video/x-msvideo",
        "flv": "video/x-flv",
        **dict.fromkeys(("wmv", "asf"), "video/x-ms-wmv"),
    },
    AssetType.AUDIO: {
        "mp3": "audio/mpeg",
        "m4a": "audio/mp4",
        "aac": "audio/aac",
        "wav": "audio/wav",
        "flac": "audio/flac",
        **dict.fromkeys(("ogg", "oga"), "audio/ogg"),
        "opus": "audio/opus",
        "weba": "audio/webm",
        **dict.fromkeys(("amr", "awb"), "audio/amr"),
        **dict.fromkeys(("3gp", "3ga", "3gpp"), "audio/3gpp"),
        "wma": "audio/x-ms-wma",
        **dict.fromkeys(("aif", "aiff", "aifc"), "audio/aiff"),
        "caf": "audio/x-caf",
    },
    AssetType.DOCUMENT: {"pdf": "application/pdf"},
}
"""Types by the end of a name, for browsers that know no type of a file."""


def announced_types(asset_type: AssetType) -> list[str]:
    """List the content types that a file of this type may announce, other names included."""
    usual = CONTENT_TYPES[asset_type]
    return sorted(usual | {name for name, target in _ALIASES.items() if target in usual})


def known_content_type(asset_type: AssetType, announced: str, filename: str) -> str:
    """Return the usual name of an announced type, without parameters. What has no other name is returned as it is."""
    announced = announced.partition(";")[0].strip().lower()
    if announced == _NO_TYPE:
        return _SUFFIXES[asset_type].get(filename.rpartition(".")[2].lower(), announced)
    return _ALIASES.get(announced, announced)
