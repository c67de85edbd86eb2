"""URLs that carry their own permission: S3's by Signature Version 4, CloudFront's by RSA policies.

Nothing here calls anybody: a signature is arithmetic. A presigned URL dies with the credentials that signed it,
whatever its own expiry says; `Credentials.expires_at` tells when that is.
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
"""The longest that S3 lets a presigned URL live."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Credentials:
    """AWS credentials at one moment. `expires_at` is None for those of a user, which do not end by themselves."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where a bucket is reached: `path_prefix` is empty with virtual hosts, `/name` with path-style addresses."""

    scheme: str
    host: str
    path_prefix: str

    def url_path(self, key: str) -> str:
        return f"{self.path_prefix}/{quote(key, safe='/-_.~')}"


def bucket_address(name: str, region: str, endpoint: str | None = None) -> BucketAddress:
    """Path-style on a custom endpoint (and for names with dots, which no certificate covers), else virtual hosts."""
    if endpoint:
        parts = urlsplit(endpoint)
        return BucketAddress(parts.scheme, host_header(parts.scheme, parts.hostname or "", parts.port), f"/{name}")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in name:
        return BucketAddress("https", f"s3.{region}.{suffix}", f"/{name}")
    return BucketAddress("https", f"{name}.s3.{region}.{suffix}", "")


def host_header(scheme: str, host: str, port: int | None) -> str:
    """The Host header of a URL with these parts: a scheme's own port is not named."""
    return host if port is None or port == _DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


@lru_cache(maxsize=16)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The key that signs for one day, region and service; derived once, so that a signature costs two hashes."""
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def string_to_sign(stamp: str, scope: str, canonical_request: str) -> str:
    return f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical_request.encode()).hexdigest()}"


class S3Presigner:
    """Presigns for one bucket with one set of credentials, from one moment on.

    `at` may lie in the past: rounded down, it makes URLs that stay the same, so that browsers can cache what they name.
    """

    def __init__(self, bucket: BucketAddress, region: str, credentials: Credentials, at: datetime) -> None:
        self._bucket = bucket
        self._credentials = credentials
        self._stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
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
        """A URL good for `seconds` from `at`; a client must send exactly `headers`. Raises ValueError beyond 7 days."""
        if not 0 < seconds <= MAX_SECONDS:
            raise ValueError(f"a presigned URL lives 1 to {MAX_SECONDS} seconds, not {seconds}")
        signed = {"host": self._bucket.host} | {name.lower(): value.strip() for name, value in (headers or {}).items()}
        names = ";".join(sorted(signed))
        path = self._bucket.url_path(key)
        named = dict(query or {}) | self._arguments(seconds, names)
        quoted = sorted((_quoted(name), _quoted(value)) for name, value in named.items())
        arguments = "&".join(f"{name}={value}" for name, value in quoted)
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical = f"{method}\n{path}\n{arguments}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
        text = string_to_sign(self._stamp, self._scope, canonical)
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        return f"{self._bucket.scheme}://{self._bucket.host}{path}?{arguments}&X-Amz-Signature={signature}"

    def _arguments(self, seconds: int, signed_headers: str) -> dict[str, str]:
        arguments = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self._credentials.access_key}/{self._scope}",
            "X-Amz-Date": self._stamp,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": signed_headers,
        }
        return arguments | {"X-Amz-Security-Token": self._credentials.token} if self._credentials.token else arguments


@lru_cache(maxsize=512)
def _quoted(text: str) -> str:
    """The same few names and values come again with every signature of a second."""
    return quote(text, safe="-_.~")


class CloudFrontUrls:
    """Signs for one distribution with one key pair.

    Raises ValueError at once when the PEM is not that of an RSA key.
    """

    def __init__(self, domain: str, key_pair_id: str, private_key_pem: str) -> None:
        self._origin = domain if "://" in domain else f"https://{domain}"
        key = load_pem_private_key(private_key_pem.encode(), password=None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("CloudFront signs with RSA keys only")  # noqa: TRY004 - the value is wrong, not our types
        # SHA-1 is what CloudFront verifies; nothing else is on offer.
        digest, scheme = hashes.SHA1(), padding.PKCS1v15()  # noqa: S303 - see above
        self._signer = CloudFrontSigner(key_pair_id, lambda text: key.sign(text, scheme, digest))

    def plain_url(self, key: str) -> str:
        """Where a file lies, without a signature."""
        return f"{self._origin}/{quote(key, safe='/-_.~')}"

    def signed_url(self, key: str, expires_at: datetime) -> str:
        """A URL of one file, by canned policy."""
        return self._signer.generate_presigned_url(self.plain_url(key), date_less_than=expires_at)

    def wildcard_query(self, prefix: str, expires_at: datetime) -> str:
        """The query string that opens every file below `prefix`, by one custom policy."""
        policy = self._signer.build_policy(f"{self.plain_url(prefix)}*", expires_at)
        return self._signer.generate_presigned_url("", policy=policy).removeprefix("?")


@dataclass(frozen=True, slots=True)
class ValidityWindow:
    """When a URL counts from and when it ends: within a step it stays the same, so that it can be cached."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        return int((self.end - self.start).total_seconds())


def window(now: datetime, lifetime: timedelta) -> ValidityWindow:
    """The window of `lifetime` that `now` falls in, begun at most an eighth of it ago: never longer than allowed."""
    step = max(1, int(lifetime.total_seconds()) // 8)
    start = datetime.fromtimestamp(int(now.timestamp()) // step * step, UTC)
    return ValidityWindow(start, start + lifetime)
