"""Other names of content types are taken at the door; the bytes decide later."""

import pytest

from api.views.content_types import CONTENT_TYPES, known_content_type
from media.asset import AssetType


@pytest.mark.parametrize(
    ("asset_type", "announced", "filename", "taken"),
    [
        (AssetType.IMAGE, "image/jpg", "photo", "image/jpeg"),
        (AssetType.IMAGE, "IMAGE/JPEG", "photo", "image/jpeg"),
        (AssetType.AUDIO, "audio/webm;codecs=opus", "note", "audio/webm"),
        (AssetType.AUDIO, "audio/mp3", "note", "audio/mpeg"),
        (AssetType.VIDEO, "video/avi", "film", "video/x-msvideo"),
        (AssetType.AUDIO, "audio/amr-wb", "dictation", "audio/amr"),
        (AssetType.AUDIO, "audio/wma", "dictation", "audio/x-ms-wma"),
        (AssetType.AUDIO, "application/octet-stream", "memo.caf", "audio/x-caf"),
        (AssetType.VIDEO, "video/x-ms-asf", "film", "video/x-ms-wmv"),
        (AssetType.VIDEO, "application/octet-stream", "old.flv", "video/x-flv"),
        (AssetType.VIDEO, "video/3gpp2", "film", "video/3gpp"),
        (AssetType.VIDEO, "video/vnd.avi", "film", "video/x-msvideo"),
        (AssetType.VIDEO, "video/vnd.dlna.mpeg-tts", "film", "video/mp2t"),
        (AssetType.AUDIO, "audio/x-opus+ogg", "note", "audio/opus"),
        (AssetType.IMAGE, "application/octet-stream", "photo.HEIC", "image/heic"),
        (AssetType.DOCUMENT, "application/octet-stream", "letter.pdf", "application/pdf"),
        (AssetType.VIDEO, "application/octet-stream", "film.mkv", "video/x-matroska"),
        (AssetType.IMAGE, "image/png", "photo.jpg", "image/png"),
    ],
)
def test_other_names_are_taken(asset_type: AssetType, announced: str, filename: str, taken: str) -> None:
    assert known_content_type(asset_type, announced, filename) == taken
    assert taken in CONTENT_TYPES[asset_type]


@pytest.mark.parametrize(
    ("asset_type", "announced", "filename"),
    [
        (AssetType.IMAGE, "application/octet-stream", "program.exe"),
        (AssetType.IMAGE, "application/octet-stream", "letter.pdf"),
        (AssetType.IMAGE, "application/octet-stream", "no suffix"),
        (AssetType.IMAGE, "audio/mp3", "photo.jpg"),
        (AssetType.IMAGE, "text/html", "photo.jpg"),
    ],
)
def test_what_an_asset_type_does_not_take_stays_refused(asset_type: AssetType, announced: str, filename: str) -> None:
    assert known_content_type(asset_type, announced, filename) not in CONTENT_TYPES[asset_type]
