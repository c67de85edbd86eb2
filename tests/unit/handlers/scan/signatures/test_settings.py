"""Where the scanner's signatures come from, as the environment says it."""

import pytest

from handlers.scan.signatures.freshclam import Upstream
from handlers.scan.signatures.settings import load_scanner_settings
from media.settings import SettingsError

OWN = "https://signatures.example/own.hdb"


def test_default_is_the_public_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDIA_SIGNATURES_MIRROR", raising=False)
    assert load_scanner_settings().upstream == Upstream("database.clamav.net")


def test_private_databases_are_named_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIA_SIGNATURES_MIRROR", "none")
    monkeypatch.setenv("MEDIA_SIGNATURES_CUSTOM", f"{OWN}, http://10.0.0.1:8080/a/b.ldb")
    assert load_scanner_settings().upstream == Upstream(None, (OWN, "http://10.0.0.1:8080/a/b.ldb"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("https://signatures.example/daily.cvd", "must end with the name of a plain database"),
        ("https://signatures.example/main.cld", "must end with the name of a plain database"),
        ("https://signatures.example/own.hdb\nDatabaseMirror evil.example", "must end with the name"),
        ("https://signatures.example/own.hdb?version=2", "must end with the name"),
        ("https://signatures.example/.hdb", "must end with the name"),
        ("file:///etc/own.hdb", "must be an address that begins with http"),
        (f"{OWN},https://other.example/own.hdb", "two databases have the same file name"),
    ],
)
def test_private_database_cannot_pass_for_an_official_one(
    value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIA_SIGNATURES_CUSTOM", value)
    with pytest.raises(SettingsError, match=reason):
        load_scanner_settings()
