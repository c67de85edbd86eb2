"""Sign URLs: S3's by Signature Version 4, CloudFront's by RSA policies. Nothing here makes a request.

A presigned URL ends with the credentials that signed it, even before its own expiry: see `Credentials.expires_at`.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, urlsplit

from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SECONDS = 7 * 24 * 3600
"""Longest life of a presigned URL in seconds, S3's limit."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Credentials:
    """AWS credentials at one moment. `expires_at` is None for a user's, which do not expire."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """The address of a bucket. `path_prefix` is empty with virtual hosts, `/name` with path-style addresses."""

    scheme: str
    host: str
    path_prefix: str

    def url_path(self, key: str) -> str:
        return f"{self.path_prefix}/{quote(key, safe='/-_.~')}"


def bucket_address(name: str, region: str, endpoint: str | None = None) -> BucketAddress:
    """Return the address of a bucket: path-style on a custom endpoint, else a virtual host.

    Names with dots get a path-style address too, because no certificate covers their virtual host.
    """
    if endpoint:
        parts = urlsplit(endpoint)
        return BucketAddress(parts.scheme, host_header(parts.scheme, parts.hostname or "", parts.port), f"/{name}")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in name:
        return BucketAddress("https", f"s3.{region}.{suffix}", f"/{name}")
    return BucketAddress("https", f"{name}.s3.{region}.{suffix}", "")


def host_header(scheme: str, host: str, port: int | None) -> str:
    """Return the Host header of a URL. It omits the scheme's default port."""
    return host if port is None or port == _DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


@lru_cache(maxsize=16)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """Derive the key that signs for one day, region and service. Cached: a signature then costs two hashes."""
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=16)
def amz_date(second: int) -> str:
    """Write a time (Unix seconds) as Signature Version 4 does. Cached: many URLs are signed in one second."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y%m%dT%H%M%SZ")


def string_to_sign(stamp: str, scope: str, canonical_request: str) -> str:
    """Return the text that Signature Version 4 signs."""
    return f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical_request.encode()).hexdigest()}"


class S3Presigner:
    """Presigns for one bucket with one set of credentials, from one moment on.

    `at` may lie in the past. Rounded down, it yields URLs that stay the same for a while, so that browsers can cache
    the objects.
    """

    def __init__(self, bucket: BucketAddress, region: str, credentials: Credentials, at: datetime) -> None:
        self._bucket = bucket
        self._credentials = credentials
        self._stamp = amz_date(int(at.timestamp()))
        day = self._stamp[:8]
        self._scope = f"{day}/{region}/s3/aws4_request"
        self._key = signing_key(credentials.secret_key, day, region, "s3")

    def url(
        self,
        key: str,
        *,
        seconds: int,
        method: str = "GET",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Sign a URL that is good for `seconds` from `at`. Clients must send exactly `headers`.

        Raises ValueError beyond MAX_SECONDS.
        """
        if not 0 < seconds <= MAX_SECONDS:
            raise ValueError(f"a presigned URL lives 1 to {MAX_SECONDS} seconds, not {seconds}")
        given = {name.lower(): value.strip() for name, value in (headers or {}).items()}
        signed = sorted({"host": self._bucket.host, **given}.items())
        names = ";".join(name for name, _ in signed)
        path = self._bucket.url_path(key)
        named = dict(query or {}) | {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self._credentials.access_key}/{self._scope}",
            "X-Amz-Date": self._stamp,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": names,
        }
        if self._credentials.token:
            named["X-Amz-Security-Token"] = self._credentials.token
        quoted = sorted((_quoted(name), _quoted(value)) for name, value in named.items())
        arguments = "&".join(f"{name}={value}" for name, value in quoted)
        lines = "".join(f"{name}:{value}\n" for name, value in signed)
        canonical = f"{method}\n{path}\n{arguments}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
        text = string_to_sign(self._stamp, self._scope, canonical)
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        return f"{self._bucket.scheme}://{self._bucket.host}{path}?{arguments}&X-Amz-Signature={signature}"


@lru_cache(maxsize=512)
def _quoted(text: str) -> str:
    """Percent-encode a name or value. Cached: the same few recur in every signature of a second."""
    return quote(text, safe="-_.~")


class CloudFrontUrls:
    """Makes URLs of one distribution, and signs with one key pair where there is one.

    The constructor raises ValueError when the PEM does not hold an RSA key.
    """

    def __init__(self, domain: str, key_pair_id: str = "", private_key_pem: str = "") -> None:
        self._origin = domain if "://" in domain else f"https://{domain}"
        self.signs = bool(private_key_pem)
        """Whether there is a key. Without one, only `plain_url` works."""
        if not self.signs:
            return
        key = load_pem_private_key(private_key_pem.encode(), password=None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("CloudFront signs with RSA keys only")  # noqa: TRY004 - the value is wrong, not our types
        # CloudFront verifies SHA-1 only.
        digest, scheme = hashes.SHA1(), padding.PKCS1v15()  # noqa: S303 - see above
        self._signer = CloudFrontSigner(key_pair_id, lambda text: key.sign(text, scheme, digest))

    def plain_url(self, key: str) -> str:
        """Return the URL of a file without a signature."""
        return f"{self._origin}/{quote(key, safe='/-_.~')}"

    def signed_url(self, key: str, expires_at: datetime) -> str:
        """Sign the URL of one file with a canned policy."""
        return self._signer.generate_presigned_url(self.plain_url(key), date_less_than=expires_at)

    def wildcard_query(self, prefix: str, expires_at: datetime) -> str:
        """Return the query string of one custom policy that covers every file below `prefix`."""
        policy = self._signer.build_policy(f"{self.plain_url(prefix)}*", expires_at)
        return self._signer.generate_presigned_url("", policy=policy).removeprefix("?")


@dataclass(frozen=True, slots=True)
class ValidityWindow:
    """The times between which a URL is valid. They move in steps, so that a URL stays the same and can be cached."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        return int((self.end - self.start).total_seconds())


def window(now: datetime, lifetime: timedelta) -> ValidityWindow:
    """Return a window of `lifetime` that began at most an eighth of it before `now`, and so is never too long."""
    step = max(1, int(lifetime.total_seconds()) // 8)
    start = datetime.fromtimestamp(int(now.timestamp()) // step * step, UTC)
    return ValidityWindow(start, start + lifetime)
