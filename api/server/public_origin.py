"""Find out how a client reached the API, without believing what any client may claim."""

import ipaddress
import re

from aiohttp import HttpVersion11, web

from media.network.listening import is_loopback
from media.settings import Settings

PROXIED = (
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Amzn-Trace-Id",
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "CF-Connecting-IP",
    "True-Client-IP",
)
"""Headers that proxies add to a request. AWS's load balancer adds three of them, and clients cannot prevent it."""
_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
"""A host, with or without a port, as it may stand in a URL."""


def public_origin(request: web.Request, settings: Settings) -> str:
    """Return scheme and host of the URL that clients use, without a slash at its end.

    It is the setting's. Where there is none, a trusted proxy says it. Otherwise the API listens on loopback only: then
    it is the `Host`, if that names this machine, or the address that the connection came to.
    """
    if settings.public_url:
        return settings.public_url
    if _came_through_trusted_proxy(request, settings) and (origin := _forwarded_origin(request)):
        return origin
    host = request.headers.get("Host", "")
    if (named := _HOST.fullmatch(host)) and is_loopback(named[1].strip("[]")):
        return f"http://{host}"
    address, port = request.transport.get_extra_info("sockname")[:2] if request.transport else ("localhost", 80)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def came_through_proxy(request: web.BaseRequest) -> bool:
    """Say whether a proxy passed the request on. A client may claim that, but a proxy cannot be made to hide it.

    nginx adds no header unless it is told to. By itself it speaks HTTP/1.0 (before 1.29.7), as no browser does.
    """
    return request.version < HttpVersion11 or any(name in request.headers for name in PROXIED)


def _came_through_trusted_proxy(request: web.Request, settings: Settings) -> bool:
    """Say whether the peer of the connection is in one of the trusted networks."""
    try:
        address = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    # A socket on `::` shows an IPv4 client as ::ffff:192.0.2.1.
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in settings.trusted_proxies)


def _forwarded_origin(request: web.Request) -> str | None:
    """Return the origin that the nearest proxy reports in `Forwarded` (RFC 7239) or `X-Forwarded-*`, if it is usable.

    Each proxy appends its own element. Those before the last one may come from the client.
    """
    nearest = request.forwarded[-1] if request.forwarded else {}
    last = {name: ",".join(request.headers.getall(name, ())).rpartition(",")[2].strip() for name in _FORWARDED}
    scheme = (nearest.get("proto") or last["X-Forwarded-Proto"] or "").lower()
    host = nearest.get("host") or last["X-Forwarded-Host"] or request.headers.get("Host") or ""
    return f"{scheme}://{host}" if scheme in {"http", "https"} and _HOST.fullmatch(host) else None


_FORWARDED = ("X-Forwarded-Proto", "X-Forwarded-Host")
