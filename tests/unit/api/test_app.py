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
CLOUDFRONT: dict[str, Any] = {"cloudfront_domain": "cdn.example", "cloudfront_key_pair_id": "K"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "MEDIA_JWT_SECRET"),
        ({"jwt_secret": SECRET, "jwt_jwks_url": "http://localhost/keys"}, "MEDIA_JWT_SECRET"),
        ({"jwt_jwks_url": "http://localhost/keys"}, "MEDIA_CALLBACK_SECRET"),
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
        load(None, check, **BASE, **CLOUDFRONT, jwt_secret=SECRET, cloudfront_private_key=key)
