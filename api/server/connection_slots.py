"""The open connections of this process: how many there are, in all and of one client, and which of them may end."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol

from api.metrics import ApiMetrics

HELD_SHARE = 8
"""One connection in so many may have a response that its client does not read. Each holds some 100 KB."""
CLIENT_SHARE = 4
"""One address, and one user, may have one connection in so many: a hospital's users come from one address."""
LEAST_SHARE = 8
"""Connections that one address or user may have in any case: a browser opens six."""
NAMES_CACHED = 10_000
"""Addresses whose names are cached: to parse one takes longer than all else that counts a request."""
UNTOLD = ""
"""The name of the group of connections whose client's address is not known, because they came through a proxy."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The most open connections, and the seconds without progress after which a response's connection is cut.

    A connection from one of `trusted_proxies` carries requests of many clients.
    """

    connections: int
    send_timeout: float
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()

    @property
    def share(self) -> int:
        return max(LEAST_SHARE, self.connections // CLIENT_SHARE)


class Slot(Protocol):
    """A connection that can be ended: `close` lets it send what was written, `cut` resets it."""

    def close(self) -> None: ...

    def cut(self) -> None: ...


class Group:
    """The connections of one client: how many, and those without a request, the one that waits longest first."""

    def __init__(self) -> None:
        self.count = 0
        self.idle: dict[Slot, None] = {}


def client_name(address: str, trusted_proxies: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return the name of the client at an address, `UNTOLD` for a proxy's. One IPv6 client has a whole /64."""
    try:
        found = ip_address(address)
    except ValueError:
        return UNTOLD
    found = getattr(found, "ipv4_mapped", None) or found  # as a socket on `::` shows IPv4 clients
    if any(found in network for network in trusted_proxies):
        return UNTOLD
    return str(ip_network((found, 64), strict=False)) if found.version == 6 else str(found)  # noqa: PLR2004 - IPv6


class ConnectionSlots:
    """Count the open connections of this process, and those whose client does not read its response.

    A client that has its share, and everybody when all slots are taken, gets a slot at the price of an idle connection:
    one of its own, or of the client that has the most. So no client can shut out others.
    """

    def __init__(self, limits: ConnectionLimits, metrics: ApiMetrics) -> None:
        self.limits = limits
        self.metrics = metrics
        self.client_name = lru_cache(NAMES_CACHED)(partial(client_name, trusted_proxies=limits.trusted_proxies))
        self._names: dict[Slot, tuple[str, ...]] = {}
        self._groups: dict[str, Group] = defaultdict(Group)
        self._busy: set[Slot] = set()
        self._held: dict[Slot, None] = {}
        self._max_held = max(1, limits.connections // HELD_SHARE)

    def take(self, connection: Slot, peer: str) -> bool:
        """Give a new connection a slot. Return False where nobody is idle who could lose one."""
        name = self.client_name(peer)
        if not self._has_room(name) and not self._end_idle(name):
            self.metrics.connections_cut["full"].inc()
            return False
        if len(self._names) >= self.limits.connections:
            largest = max(self._groups, key=lambda each: (bool(self._groups[each].idle), self._groups[each].count))
            if not self._end_idle(largest):
                self.metrics.connections_cut["full"].inc()
                return False
        self._join(connection, (name,))
        self._set_idle(connection)
        self.metrics.connections.set(len(self._names))
        return True

    def release(self, connection: Slot) -> None:
        """Give the slot of a connection back. Does nothing for one that has none any more."""
        for name in self._names.pop(connection, ()):
            group = self._groups[name]
            group.count -= 1
            group.idle.pop(connection, None)
            if not group.count:
                del self._groups[name]
        self.metrics.connections.set(len(self._names))

    def begin(self, connection: Slot) -> None:
        """Note that a connection has a request."""
        self._busy.add(connection)
        self._unset_idle(connection)

    def finish(self, connection: Slot, *names: str) -> None:
        """Note that a request was answered, and whose it was: the address and the user, as far as they are known."""
        self._busy.discard(connection)
        if connection not in self._names:
            return
        if names != self._names[connection]:
            self.release(connection)
            self._join(connection, names)
        self._set_idle(connection)
        for name in names:
            if not self._has_room(name, used=-1):
                self._end_idle(name)

    def hold(self, connection: Slot) -> None:
        """Note that a client does not read its response. With too many of them, cut the one that waits the longest."""
        self._unset_idle(connection)
        self._held[connection] = None
        if len(self._held) > self._max_held:
            self.metrics.connections_cut["crowd"].inc()
            next(iter(self._held)).cut()

    def unhold(self, connection: Slot) -> None:
        """Note that a client reads again, or is gone."""
        self._held.pop(connection, None)
        if connection in self._names and connection not in self._busy:
            self._set_idle(connection)

    def _has_room(self, name: str, *, used: int = 0) -> bool:
        return name == UNTOLD or name not in self._groups or self._groups[name].count + used < self.limits.share

    def _join(self, connection: Slot, names: tuple[str, ...]) -> None:
        self._names[connection] = names
        for name in names:
            self._groups[name].count += 1

    def _set_idle(self, connection: Slot) -> None:
        for name in self._names[connection]:
            self._groups[name].idle[connection] = None

    def _unset_idle(self, connection: Slot) -> None:
        for name in self._names.get(connection, ()):
            self._groups[name].idle.pop(connection, None)

    def _end_idle(self, name: str) -> bool:
        """End the connection of a group that has been idle for longest. Return False where none is."""
        oldest = next(iter(self._groups[name].idle), None) if name in self._groups else None
        if oldest is None:
            return False
        self.metrics.connections_cut["idle"].inc()
        self.release(oldest)
        oldest.close()
        return True
