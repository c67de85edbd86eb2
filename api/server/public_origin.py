"""Find out how a client reached the API, without believing what any client may claim."""

import ipaddress
import re
from ipaddress import IPv4Network, IPv6Network

from aiohttp import web

from media.network.listening import is_loopback
from media.settings import Settings

_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
"""A host, with or without a port, as it may stand in a URL."""


def public_origin(request: web.Request, settings: Settings) -> str:
    """Return scheme and host of the URL that clients use, without a slash at its end.

    It is the setting's. Where there is none, a trusted proxy says it. Otherwise the API listens on loopback only: then
    it is the `Host`, if that names this machine, or the address that the connection came to.
    """
    if settings.public_url:
        return settings.public_url
    if _is_trusted(request.remote, settings.trusted_proxies):
        scheme, host = _forwarded(request)
        if scheme in {"http", "https"} and _HOST.fullmatch(host):
            return f"{scheme}://{host}"
    host = request.headers.get("Host", "")
    if (named := _HOST.fullmatch(host)) and is_loopback(named[1].strip("[]")):
        return f"http://{host}"
    return _local_address(request)


def _is_trusted(peer: str | None, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    # A socket on `::` shows an IPv4 client as ::ffff:192.0.2.1.
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in networks)


def _forwarded(request: web.Request) -> tuple[str, str]:
    """Return scheme and host as the nearest proxy reports them: `Forwarded` (RFC 7239), else `X-Forwarded-*`.

    Each proxy appends its own element. Those before the last one may come from the client.
    """
    nearest = request.forwarded[-1] if request.forwarded else {}

    def last(name: str) -> str:
        return ",".join(request.headers.getall(name, ())).rpartition(",")[2].strip()

    scheme = nearest.get("proto") or last("X-Forwarded-Proto")
    host = nearest.get("host") or last("X-Forwarded-Host") or request.headers.get("Host", "")
    return str(scheme).lower(), str(host)


def _local_address(request: web.Request) -> str:
    """Return the address that the connection came to, as an origin."""
    host, port = request.transport.get_extra_info("sockname")[:2] if request.transport else ("localhost", 80)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
