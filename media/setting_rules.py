"""What single settings must look like. Each rule returns its value, or raises ValueError with what it must be."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""S3's rules for bucket names."""
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


def _http_url(value: str) -> str:
    parts = urlsplit(value)
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


def _redis_url(value: str) -> str:
    if not value.startswith(("redis://", "rediss://")):
        raise ValueError("must begin with redis:// or rediss://")
    return value


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query:
            raise ValueError(f"{value} is not an origin: scheme://host or scheme://host:port")
    return values


def _clamd_addresses(value: str) -> str:
    addresses = [urlsplit(address.strip()) for address in value.split(",")]
    if not all((a.scheme == "tcp" and a.hostname and a.port) or (a.scheme == "unix" and a.path) for a in addresses):
        raise ValueError("must be tcp://host:port or unix:///path, or several of them, comma-separated")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Bucket = Annotated[str, AfterValidator(_bucket)]
RoleArn = Annotated[str, AfterValidator(_role)]
Host = Annotated[str, AfterValidator(_host)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
ClamdAddresses = Annotated[str, AfterValidator(_clamd_addresses)]
Origins = AfterValidator(_origins)
