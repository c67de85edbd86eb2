"""Open listening sockets on one host or several, and on `::` for IPv4 too."""

import ipaddress
import socket

BACKLOG = 128
"""Connections that may wait to be accepted, per socket."""


def listen(hosts: str, port: int) -> list[socket.socket]:
    """Open sockets on each of the comma-separated hosts, all on one port; 0 is any free one. Raises OSError."""
    named = _named(hosts)
    # `::` takes IPv4 too, unless a socket on an IPv4 address beside it does.
    dual = socket.has_dualstack_ipv6() and not any("." in name for name in named)
    opened: list[socket.socket] = []
    try:
        for host in named:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            # A host may list an address more than once.
            for family, address in dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found):
                opened.append(
                    socket.create_server(
                        (address, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual and address == "::"
                    )
                )
                port = opened[0].getsockname()[1]
    except BaseException:
        for each in opened:
            each.close()
        raise
    return opened


def is_loopback(host: str | None) -> bool:
    """Say whether a host names this machine to itself only: `localhost` or an address of the loopback interface."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def on_loopback_only(hosts: str) -> bool:
    """Say whether all of the comma-separated hosts are loopback, so that no other machine can connect."""
    return all(is_loopback(host.strip("[]")) for host in _named(hosts))


def _named(hosts: str) -> list[str]:
    return [host.strip() for host in hosts.split(",") if host.strip()]
