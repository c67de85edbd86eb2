"""Signatures are byte for byte those that AWS publishes and botocore makes."""

import hmac
import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from media.aws.signed_urls import (
    BucketAddress,
    CloudFrontUrls,
    Credentials,
    S3Presigner,
    bucket_address,
    signing_key,
    string_to_sign,
    window,
)

CORPUS = Path(__file__).parents[4] / "../shared/corpus/signing"
FROM_URL = str.maketrans("-_~", "+=/")
"""Translates CloudFront's characters into those of Base64."""
NOW = datetime(2026, 5, 24, 10, 11, 12, tzinfo=UTC)


def corpus(name: str) -> Any:
    path = CORPUS / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return json.loads(path.read_text())


def test_the_documented_presigned_url() -> None:
    for vector in corpus("s3_sigv4_presign_vectors.json")["vectors"]:
        credentials = Credentials(vector["access_key"], vector["secret_key"])
        at = datetime.strptime(vector["date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        host = vector["url"].split("/")[2]
        presigner = S3Presigner(BucketAddress("https", host, ""), vector["region"], credentials, at)
        assert presigner.url("test.txt", seconds=vector["expires"]) == vector["presigned_url"]


def test_the_signature_test_suite() -> None:
    for vector in corpus("aws4_testsuite_subset.json").values():
        stamp, scope = vector["sts"].splitlines()[1:3]
        text = string_to_sign(stamp, scope, vector["creq"])
        assert text == vector["sts"]
        key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", scope.split("/")[0], "us-east-1", "service")
        assert hmac.digest(key, text.encode(), "sha256").hex() == vector["authz"].rpartition("Signature=")[2]


KEYS = st.text(min_size=1, max_size=60).filter(lambda key: not key.startswith("/") and key.isprintable())


@settings(max_examples=50, deadline=None)
@given(KEYS, st.sampled_from([None, "a token/with+odd=characters"]), st.sampled_from(["GET", "PUT"]))
def test_every_key_signs_as_botocore_does(key: str, token: str | None, method: str) -> None:
    at = NOW
    headers = {"Content-Type": "image/jpeg", "If-None-Match": "*", "Content-Length": "42"} if method == "PUT" else {}
    query = {} if method == "PUT" else {"versionId": "a.b_c-d", "response-content-disposition": 'attachment; a="b c"'}
    bucket = bucket_address("bucket", "eu-central-1", "http://127.0.0.1:4566")
    presigner = S3Presigner(bucket, "eu-central-1", Credentials("AKID", "se/cr+et", token), at)
    ours = presigner.url(key, seconds=900, method=method, headers=headers, query=query)
    request = AWSRequest(
        method, f"{bucket.scheme}://{bucket.host}{bucket.url_path(key)}", headers=headers, params=query
    )
    with patch("botocore.auth.get_current_datetime", return_value=at.replace(tzinfo=None)):
        S3SigV4QueryAuth(BotocoreCredentials("AKID", "se/cr+et", token), "s3", "eu-central-1", 900).add_auth(request)
    theirs = str(request.url)
    assert sorted(ours.partition("?")[2].split("&")) == sorted(theirs.partition("?")[2].split("&"))
    assert ours.partition("?")[0] == theirs.partition("?")[0]


@pytest.mark.parametrize(
    ("name", "region", "endpoint", "expected"),
    [
        ("b", "eu-central-1", None, "https://b.s3.eu-central-1.amazonaws.com/k"),
        ("b", "cn-north-1", None, "https://b.s3.cn-north-1.amazonaws.com.cn/k"),
        ("a.b", "us-east-1", None, "https://s3.us-east-1.amazonaws.com/a.b/k"),
        ("b", "us-east-1", "http://127.0.0.1:4566", "http://127.0.0.1:4566/b/k"),
        ("b", "us-east-1", "https://s3.example:443/", "https://s3.example/b/k"),
    ],
)
def test_bucket_address(name: str, region: str, endpoint: str | None, expected: str) -> None:
    url = S3Presigner(bucket_address(name, region, endpoint), region, Credentials("a", "b"), NOW).url("k", seconds=1)
    assert url.partition("?")[0] == expected


@pytest.mark.parametrize("seconds", [0, -1, 7 * 24 * 3600 + 1])
def test_lifetime_that_s3_refuses_is_an_error(seconds: int) -> None:
    presigner = S3Presigner(bucket_address("b", "eu-central-1"), "eu-central-1", Credentials("a", "b"), NOW)
    with pytest.raises(ValueError, match="lives"):
        presigner.url("k", seconds=seconds)


def test_the_published_signature_of_a_url() -> None:
    vectors = corpus("cloudfront_signed_url_vectors.json")
    [vector] = [vector for vector in vectors["vectors"] if vector["kind"].startswith("canned")]
    cloudfront = CloudFrontUrls("http://example.com", vector["key_pair_id"], vectors["private_key_pem"])
    expires_at = datetime.fromtimestamp(vector["expires_epoch"], UTC)
    assert cloudfront.signed_url("a", expires_at) == vector["signed_url"]


def test_one_wildcard_signature_opens_a_folder() -> None:
    keys = corpus("cloudfront_signed_url_vectors.json")
    cloudfront = CloudFrontUrls("d.cloudfront.net", "K", keys["private_key_pem"])
    query = dict(part.split("=") for part in cloudfront.wildcard_query("processed/a/", NOW).split("&"))
    policy, signature = (b64decode(query[name].translate(FROM_URL)) for name in ("Policy", "Signature"))
    condition = {"DateLessThan": {"AWS:EpochTime": int(NOW.timestamp())}}
    resource = "https://d.cloudfront.net/processed/a/*"
    assert json.loads(policy) == {"Statement": [{"Resource": resource, "Condition": condition}]}
    key = load_pem_public_key(keys["public_key_pem"].encode())
    assert isinstance(key, RSAPublicKey)
    key.verify(signature, policy, PKCS1v15(), SHA1())  # noqa: S303 - what CloudFront verifies
    assert query["Key-Pair-Id"] == "K"


def test_cloudfront_takes_rsa_keys_only() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(ValueError, match="RSA"):
        CloudFrontUrls("d.cloudfront.net", "K", pem)


@settings(max_examples=50, deadline=None)
@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), st.sampled_from([0.5, 2, 4, 8, 24]))  # noqa: DTZ001 - made aware below
def test_a_window_is_never_longer_than_allowed_and_never_much_shorter(at: datetime, hours: float) -> None:
    now, lifetime = at.replace(tzinfo=UTC), timedelta(hours=hours)
    span = window(now, lifetime)
    assert span.start <= now
    assert lifetime * 7 / 8 < span.end - now <= lifetime
    assert span.seconds == lifetime.total_seconds()
    assert window(span.start, lifetime) == span
