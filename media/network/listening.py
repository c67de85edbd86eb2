"""Sockets that listen where a setting says: on one host or several, and on `::` for IPv4 too."""

import socket
from collections.abc import Iterator

BACKLOG = 128
"""Connections that wait to be accepted, per socket."""


def listen(hosts: str, port: int) -> list[socket.socket]:
    """Sockets on each of the comma-separated hosts, all on one port: with 0 on any that is free. Raises OSError."""
    named = [host.strip() for host in hosts.split(",") if host.strip()]
    opened: list[socket.socket] = []
    try:
        for host in named:
            for family, address in _addresses(host, port):
                opened.append(_open(family, address, port, both=not any("." in name for name in named)))
                port = opened[0].getsockname()[1]
    except BaseException:
        for each in opened:
            each.close()
        raise
    return opened


def _addresses(host: str, port: int) -> Iterator[tuple[socket.AddressFamily, str]]:
    """Every address of a host, once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    yield from dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found)


def _open(family: socket.AddressFamily, address: str, port: int, *, both: bool) -> socket.socket:
    """`both`: `::` takes IPv4 too, unless an IPv4 address that is named beside it will."""
    dual = both and address == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((address, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual)
