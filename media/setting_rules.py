"""Rules for single settings. Each returns the value, or raises ValueError with the form that it must have."""

import re
from typing import Annotated
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AfterValidator, SecretStr

SECRETS = 2
"""Most secrets of a setting that can be rotated."""
SECRET_BYTES = 32
"""Bytes that a shared secret must have at least: as many as its hash (RFC 7518, 3.2)."""
_MARK = "\ufeff"
"""The byte order mark that some editors write at the start of a file."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def trim(value: str) -> str:
    """Remove the white space around `value`. Raises ValueError when it contains line ends or tabs."""
    trimmed = value.removeprefix(_MARK).strip()
    # A list may continue on the next line.
    if any(_CONTROL.search(part.strip()) for part in trimmed.split(",")):
        raise ValueError("must be one line, without control characters")
    return trimmed


def trim_secret(value: str) -> str:
    """Remove the line ends around `value`. A secret may begin or end with a space, and a key has many lines."""
    return value.removeprefix(_MARK).strip("\r\n")


def each_secret(value: SecretStr | None) -> tuple[str, ...]:
    """Return the secrets of a setting, a line each. The first signs, all are accepted: so that they can be rotated."""
    return tuple(map(trim_secret, value.get_secret_value().splitlines())) if value else ()


def shared_secrets(value: SecretStr | None) -> SecretStr | None:
    """Return secrets that are as many and as long as they must be. Raises ValueError."""
    secrets = each_secret(value)
    if any(len(secret.encode()) < SECRET_BYTES for secret in secrets):
        raise ValueError(f"must have at least {SECRET_BYTES} bytes")
    if len(secrets) > SECRETS:
        raise ValueError(f"must have at most {SECRETS} lines, each a secret")
    return value


def private_key(value: SecretStr | None) -> SecretStr | None:
    r"""Return a PEM with line ends where a literal `\n` stands."""
    return value and SecretStr(trim_secret(value.get_secret_value().replace("\\r", "").replace("\\n", "\n")))


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    _require_port(parts)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address that begins with http:// or https://")
    return value


def _matching(pattern: str, message: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def _require_port(parts: SplitResult) -> None:
    """Raise ValueError for an invalid port. The message does not quote the address, which may hold a password."""
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("its port must be a number up to 65535") from None


def _redis_url(value: str) -> str:
    if not value.startswith(("redis://", "rediss://")):
        raise ValueError("must begin with redis:// or rediss://")
    _require_port(urlsplit(value))
    return value


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        parts = urlsplit(value)
        _require_port(parts)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query:
            raise ValueError(f"{value} is not an origin: scheme://host or scheme://host:port")
    return values


def _clamd_addresses(value: str) -> str:
    for address in value.split(","):
        parts = urlsplit(address.strip())
        is_socket = parts.scheme == "unix" and parts.path and not (parts.netloc or parts.query or parts.fragment)
        if not is_socket and not (parts.scheme == "tcp" and parts.hostname and parts.port):
            raise ValueError(
                "must be tcp://host:port or unix:///path, or several of them, comma-separated;"
                " in a path # is written %23, ? %3F, a comma %2C and % %25"
            )
    return value


def public_url(value: str) -> str:
    """Return the address without a slash at its end. Raises ValueError for more than scheme, host, port and path."""
    parts = urlsplit(_http_url(value))
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be scheme://host, with a port or path at most")
    return value.rstrip("/")


def postgres_dsn(value: str) -> str:
    """Return Postgres' address in asyncpg's form. Raises ValueError, which never quotes the password in it."""
    plain = trim(value).replace("postgresql+asyncpg://", "postgresql://", 1)
    try:
        parts = urlsplit(plain)
        # The port of host:port or [host]:port, else an empty text.
        hosts = parts.netloc.rpartition("@")[2].split(",")
        ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
        ports += parse_qs(parts.query).get("port", [])
    except ValueError:
        raise ValueError(_NOT_READ) from None  # urllib's message may quote the address
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("must begin with postgresql:// or postgresql+asyncpg://")
    # An "@" behind the host, or a fragment, shows an unescaped character that cut the password.
    if "@" in parts.path or ("@" in parts.query and not parts.path) or parts.fragment:
        raise ValueError(_NOT_READ)
    named = [port for text in ports for port in text.split(",") if port]
    if not all(port.isascii() and port.isdecimal() and int(port[:6]) in _PORTS for port in named):
        raise ValueError(_NOT_READ)
    return plain


_PORTS = range(1, 65_536)
_NOT_READ = (
    "must be postgresql://user:password@host:port/database, the port a number; in the password / is written %2F,"
    " @ %40, : %3A, # %23, ? %3F and % %25"
)


HttpUrl = Annotated[str, AfterValidator(_http_url)]
PublicUrl = Annotated[str, AfterValidator(public_url)]
Bucket = Annotated[
    str,
    _matching(
        r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "must be the name of a bucket: 3 to 63 small letters, digits, dots and hyphens",
    ),
]
EventBusName = Annotated[
    str,
    _matching(
        r"(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus/)?[.\-_A-Za-z0-9]{1,256}",
        "must be the name or the ARN of an EventBridge bus",
    ),
]
RoleArn = Annotated[
    str, _matching(r"(arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+)?", "must be the ARN of an IAM role")
]
Host = Annotated[
    str, _matching(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", "must be a host name, without scheme and path")
]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
ClamdAddresses = Annotated[str, AfterValidator(_clamd_addresses)]
PostgresDsn = Annotated[str, AfterValidator(postgres_dsn)]
Origins = AfterValidator(_origins)
SharedSecrets = Annotated[SecretStr | None, AfterValidator(shared_secrets)]
PrivateKey = Annotated[SecretStr | None, AfterValidator(private_key)]
