"""Choose the proxy of a request: one rule for all HTTP clients of the service, the same as botocore's.

`HTTP_PROXY` and `HTTPS_PROXY` (in small letters too) name it, `NO_PROXY` the hosts that are reached directly. This
machine and link-local addresses (ECS's agent) are always reached directly: a proxy would find other hosts there.
"""

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_for(url: str) -> str | None:
    """Return the proxy for `url`, or None when it is reached directly."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_local(host) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


def is_local(host: str) -> bool:
    """Say whether a host is this machine, or link-local."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local
