"""Open listening sockets on one host or several, and on `::` for IPv4 too."""

import socket

BACKLOG = 128
"""Connections that may wait to be accepted, per socket."""


def listen(hosts: str, port: int) -> list[socket.socket]:
    """Open sockets on each of the comma-separated hosts, all on one port; 0 is any free one. Raises OSError."""
    named = [host.strip() for host in hosts.split(",") if host.strip()]
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
