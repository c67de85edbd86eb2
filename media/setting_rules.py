"""What single settings must look like. Each rule returns its value, or raises ValueError with what it must be."""

import re
from typing import Annotated
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AfterValidator

_MARK = "\ufeff"
"""The byte order mark that some editors begin a file with."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""S3's rules for bucket names."""
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


def trim(value: str) -> str:
    """`value` without the white space around it. Raises ValueError when there are several lines, or a tab, in it."""
    trimmed = value.removeprefix(_MARK).strip()
    # A list may go on in the next line.
    if any(_CONTROL.search(part.strip()) for part in trimmed.split(",")):
        raise ValueError("must be one line, without control characters")
    return trimmed


def trim_secret(value: str) -> str:
    """`value` without the ends of lines around it: a secret may begin or end with a space, and a key has many lines."""
    return value.removeprefix(_MARK).strip("\r\n")


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    _require_port(parts)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address that begins with http:// or https://")
    return value


def _bucket(value: str) -> str:
    if not _BUCKET.fullmatch(value):
        raise ValueError("must be the name of a bucket: 3 to 63 small letters, digits, dots and hyphens")
    return value


def _role(value: str) -> str:
    if value and not _ROLE.fullmatch(value):
        raise ValueError("must be the ARN of an IAM role")
    return value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("must be a host name, without scheme and path")
    return value


def _require_port(parts: SplitResult) -> None:
    """Raise ValueError for a port that is none; its message does not quote the address, which may hold a password."""
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
    if not all(_is_clamd_address(urlsplit(address.strip())) for address in value.split(",")):
        raise ValueError(
            "must be tcp://host:port or unix:///path, or several of them, comma-separated;"
            " in a path # is written %23, ? %3F, a comma %2C and % %25"
        )
    return value


def _is_clamd_address(parts: SplitResult) -> bool:
    if parts.scheme == "unix":
        return bool(parts.path) and not (parts.netloc or parts.query or parts.fragment)
    return parts.scheme == "tcp" and bool(parts.hostname and parts.port)


def postgres_dsn(value: str) -> str:
    """Postgres's address as asyncpg takes it. Raises ValueError, which never quotes it: there is a password in it."""
    plain = trim(value).replace("postgresql+asyncpg://", "postgresql://", 1)
    try:
        parts = urlsplit(plain)
        # What stands behind the colon of host:port or [host]:port; "" when nothing does.
        hosts = parts.netloc.rpartition("@")[2].split(",")
        ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
        ports += parse_qs(parts.query).get("port", [])
    except ValueError:
        raise ValueError(_NOT_READ) from None  # its message may quote
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("must begin with postgresql:// or postgresql+asyncpg://")
    # An "@" behind the host, a fragment: the password was cut at a character that ends what stands before it.
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
Bucket = Annotated[str, AfterValidator(_bucket)]
RoleArn = Annotated[str, AfterValidator(_role)]
Host = Annotated[str, AfterValidator(_host)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
ClamdAddresses = Annotated[str, AfterValidator(_clamd_addresses)]
PostgresDsn = Annotated[str, AfterValidator(postgres_dsn)]
Origins = AfterValidator(_origins)
