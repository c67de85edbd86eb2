"""The check of the settings that the API needs."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.app import check
from media.settings import QUEUES, SettingsError, load

PEM = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SECRET = "a secret of the tests that has 32 bytes or more"
BASE: dict[str, Any] = {
    "database_url": "postgresql://localhost/media",
    "output_bucket": "media",
    **{f"{name.replace('-', '_')}_queue_url": "http://localhost/q" for name in QUEUES},
}
PUBLIC = {"jwt_secret": SECRET, "public_url": "https://media.example"}
CLOUDFRONT: dict[str, Any] = {"cloudfront_domain": "cdn.example", "cloudfront_key_pair_id": "K"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "MEDIA_JWT_SECRET"),
        ({"jwt_secret": SECRET, "jwt_jwks_url": "http://localhost/keys"}, "MEDIA_JWT_SECRET"),
        ({"jwt_jwks_url": "http://localhost/keys"}, "MEDIA_CALLBACK_SECRET"),
        ({"jwt_secret": SECRET, "rate_limit_urls": 99}, "MEDIA_RATE_LIMIT_URLS: must be 0 or at least 100"),
        ({"jwt_secret": SECRET, **CLOUDFRONT, "cloudfront_private_key": "/nowhere.pem"}, "CLOUDFRONT_PRIVATE_KEY"),
        ({"jwt_secret": SECRET, **CLOUDFRONT, "cloudfront_private_key": "-----BEGIN x"}, "CLOUDFRONT_PRIVATE_KEY"),
    ],
)
def test_wrong_setting_is_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load(None, check, **BASE, **given)


def test_cloudfronts_key_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(PEM)
    for key in (PEM, PEM.replace("\n", "\\n"), str(file)):
        load(None, check, **BASE, **CLOUDFRONT, **PUBLIC, cloudfront_private_key=key)
    load(None, check, **BASE, **PUBLIC, cloudfront_domain="cdn.example")


@pytest.mark.parametrize("limit", [0, 100])
def test_the_rate_limit_of_urls_admits_the_largest_request(limit: int) -> None:
    load(None, check, **BASE, **PUBLIC, rate_limit_urls=limit)


@pytest.mark.parametrize(
    ("host", "url", "reason"),
    [
        ("0.0.0.0", None, "missing"),  # noqa: S104 - nothing is bound here
        ("127.0.0.1, 192.0.2.1", None, "missing"),
        ("0.0.0.0", "http://media.example", "https"),  # noqa: S104 - as above
        ("0.0.0.0", "media.example", "https"),  # noqa: S104 - as above
        ("127.0.0.1", "https://media.example?a", "scheme://host"),
        ("0.0.0.0", "https://media.example/media", None),  # noqa: S104 - as above
        ("0.0.0.0", "http://localhost:8005", None),  # noqa: S104 - as above
        ("127.0.0.1, ::1, localhost", None, None),
        ("127.0.0.1", "http://media.example", None),
    ],
)
def test_api_that_others_reach_needs_a_public_https_url(host: str, url: str | None, reason: str | None) -> None:
    given = BASE | {"jwt_secret": SECRET, "api_host": host} | ({"public_url": url} if url else {})
    if reason is None:
        load(None, check, **given)
        return
    with pytest.raises(SettingsError, match=f"MEDIA_PUBLIC_URL: .*{reason}"):
        load(None, check, **given)


def test_wrong_network_of_a_trusted_proxy_is_named() -> None:
    with pytest.raises(SettingsError, match="MEDIA_TRUSTED_PROXIES"):
        load(None, check, **BASE, **PUBLIC, trusted_proxies="10.0.0.0/8, the balancer")
