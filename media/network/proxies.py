"""Through which proxy a request leaves: one rule for all HTTP clients of the service, the one that botocore has.

`HTTP_PROXY` and `HTTPS_PROXY` (in small letters too) name it, `NO_PROXY` the hosts that are reached directly. No
proxy is asked for what is on this machine, or link-local as ECS's agent: on its side that is something else.
"""

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_for(url: str) -> str | None:
    """The proxy for `url`; None when it is reached directly."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_local(host) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


def is_local(host: str) -> bool:
    """Whether a host is this machine, or link-local."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local
