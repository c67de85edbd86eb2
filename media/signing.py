"""URLs that carry their own permission: S3's by Signature Version 4, CloudFront's by RSA policies.

Nothing here calls anybody: a signature is arithmetic. A presigned URL dies with the credentials that signed it,
whatever its own expiry says; `Credentials.expires_at` tells when that is.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, urlsplit

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
class Bucket:
    """Where a bucket is reached: `path_prefix` is empty with virtual hosts, `/name` with path-style addresses."""

    scheme: str
    host: str
    path_prefix: str

    def url_path(self, key: str) -> str:
        return f"{self.path_prefix}/{quote(key, safe='/-_.~')}"


def bucket_address(name: str, region: str, endpoint: str | None = None) -> Bucket:
    """Path-style on a custom endpoint (and for names with dots, which no certificate covers), else virtual hosts."""
    if endpoint:
        parts = urlsplit(endpoint)
        return Bucket(parts.scheme, _host_header(parts.scheme, parts.hostname or "", parts.port), f"/{name}")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in name:
        return Bucket("https", f"s3.{region}.{suffix}", f"/{name}")
    return Bucket("https", f"{name}.s3.{region}.{suffix}", "")


def _host_header(scheme: str, host: str, port: int | None) -> str:
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

    def __init__(self, bucket: Bucket, region: str, credentials: Credentials, at: datetime) -> None:
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
        arguments = _canonical_query(dict(query or {}) | self._arguments(seconds, names))
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


def _canonical_query(arguments: Mapping[str, str]) -> str:
    pairs = sorted((_quoted(name), _quoted(value)) for name, value in arguments.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


@lru_cache(maxsize=512)
def _quoted(text: str) -> str:
    """The same few names and values come again with every signature of a second."""
    return quote(text, safe="-_.~")


class CloudFront:
    """Signs for one distribution with one key pair.

    Raises ValueError at once when the PEM is not that of an RSA key.
    """

    def __init__(self, domain: str, key_pair_id: str, private_key_pem: str) -> None:
        self._origin = domain if "://" in domain else f"https://{domain}"
        self._key_pair_id = key_pair_id
        key = load_pem_private_key(private_key_pem.encode(), password=None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("CloudFront signs with RSA keys only")  # noqa: TRY004 - the value is wrong, not our types
        self._key = key

    def plain_url(self, key: str) -> str:
        """Where a file lies, without a signature."""
        return f"{self._origin}/{quote(key, safe='/-_.~')}"

    def signed_url(self, key: str, expires_at: datetime) -> str:
        """A URL of one file, by canned policy."""
        return self.sign_canned(self.plain_url(key), _epoch(expires_at))

    def sign_canned(self, url: str, expires: int) -> str:
        signature = self._signature(policy(url, expires))
        return f"{url}{_joint(url)}Expires={expires}&Signature={signature}&Key-Pair-Id={self._key_pair_id}"

    def sign_custom(self, url: str, policy_text: str) -> str:
        return f"{url}{_joint(url)}{self._custom_query(policy_text)}"

    def wildcard_query(self, prefix: str, expires_at: datetime) -> str:
        """The query string that opens every file below `prefix`, by one custom policy."""
        return self._custom_query(policy(f"{self.plain_url(prefix)}*", _epoch(expires_at)))

    def _custom_query(self, text: str) -> str:
        encoded = _url_safe(text.encode())
        return f"Policy={encoded}&Signature={self._signature(text)}&Key-Pair-Id={self._key_pair_id}"

    def _signature(self, text: str) -> str:
        # SHA-1 is what CloudFront verifies; nothing else is on offer.
        return _url_safe(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA1()))  # noqa: S303 - see above


def policy(resource: str, expires: int) -> str:
    """CloudFront's policy, in the one spelling that a canned signature is made of."""
    condition = {"DateLessThan": {"AWS:EpochTime": expires}}
    statement = {"Statement": [{"Resource": resource, "Condition": condition}]}
    return json.dumps(statement, separators=(",", ":"))


def _url_safe(data: bytes) -> str:
    return base64.b64encode(data).decode().translate(str.maketrans("+=/", "-_~"))


def _joint(url: str) -> str:
    return "&" if "?" in url else "?"


def _epoch(at: datetime) -> int:
    return int(at.timestamp())


@dataclass(frozen=True, slots=True)
class Window:
    """When a URL counts from and when it ends: within a step it stays the same, so that it can be cached."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        return int((self.end - self.start).total_seconds())


def window(now: datetime, lifetime: timedelta) -> Window:
    """The window of `lifetime` that `now` falls in, begun at most an eighth of it ago: never longer than allowed."""
    step = max(1, int(lifetime.total_seconds()) // 8)
    start = datetime.fromtimestamp(int(now.timestamp()) // step * step, UTC)
    return Window(start, start + lifetime)
