"""Who gets a connection, and who loses one for it."""

from ipaddress import ip_network

import pytest

from api.metrics import ApiMetrics
from api.server.connection_slots import UNTOLD, ConnectionLimits, ConnectionSlots

MOST = 40
SHARE = 10
LIMITS = ConnectionLimits(MOST, 30.0, (ip_network("10.0.0.0/8"),))


class Client:
    """A connection that notes how it ended."""

    def __init__(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def cut(self) -> None:
        self.is_open = False


@pytest.fixture
def slots() -> ConnectionSlots:
    return ConnectionSlots(LIMITS, ApiMetrics())


def connect(slots: ConnectionSlots, address: str, count: int) -> list[Client]:
    clients = [Client() for _ in range(count)]
    for client in clients:
        assert slots.take(client, address)
    return clients


def open_of(clients: list[Client]) -> int:
    return sum(client.is_open for client in clients)


@pytest.mark.parametrize("addresses", [["192.0.2.1"], ["2001:db8::1", "2001:db8::2:1"], ["::ffff:192.0.2.1"]])
def test_one_address_has_its_share_and_loses_what_is_idle_longest(slots: ConnectionSlots, addresses: list[str]) -> None:
    others = connect(slots, "198.51.100.1", SHARE)
    clients = [client for n in range(100) for client in connect(slots, addresses[n % len(addresses)], 1)]
    assert [client.is_open for client in clients] == [False] * (100 - SHARE) + [True] * SHARE
    assert open_of(others) == SHARE


def test_many_addresses_shut_out_nobody(slots: ConnectionSlots) -> None:
    flood = [client for n in range(20) for client in connect(slots, f"192.0.2.{n}", SHARE)]
    assert open_of(flood) == MOST
    newcomers = connect(slots, "198.51.100.1", 3)
    assert open_of(newcomers) == 3
    assert open_of(flood) == MOST - 3


def test_connection_with_a_request_is_not_ended(slots: ConnectionSlots) -> None:
    clients = connect(slots, "192.0.2.1", SHARE)
    for client in clients:
        slots.begin(client)
    refused = Client()
    assert not slots.take(refused, "192.0.2.1")
    slots.finish(clients[3], slots.client_name("192.0.2.1"))
    assert slots.take(refused, "192.0.2.1")
    assert [n for n, client in enumerate(clients) if not client.is_open] == [3]


def test_connection_whose_response_is_not_read_is_not_idle(slots: ConnectionSlots) -> None:
    clients = connect(slots, "192.0.2.1", SHARE)
    slots.hold(clients[0])
    connect(slots, "192.0.2.1", 1)
    assert [client.is_open for client in clients[:2]] == [True, False]
    slots.unhold(clients[0])
    connect(slots, "192.0.2.1", SHARE)
    assert open_of(clients) == 0


def test_address_of_a_proxy_counts_for_nothing_and_what_it_tells_counts(slots: ConnectionSlots) -> None:
    proxied = connect(slots, "10.1.2.3", 3 * SHARE)
    assert open_of(proxied) == 3 * SHARE
    for client in proxied:
        slots.begin(client)
        slots.finish(client, slots.client_name("203.0.113.7"))
    assert open_of(proxied) == SHARE


def test_unknown_proxy_is_not_taken_for_a_client(slots: ConnectionSlots) -> None:
    clients: list[Client] = []
    for _ in range(3 * SHARE):
        clients += connect(slots, "192.0.2.9", 1)
        slots.begin(clients[-1])
        slots.finish(clients[-1], UNTOLD)
    assert open_of(clients) == 3 * SHARE


def test_one_user_has_a_share_from_whatever_addresses(slots: ConnectionSlots) -> None:
    clients: list[Client] = []
    for n in range(3 * SHARE):
        address = f"192.0.2.{n}"
        clients += connect(slots, address, 1)
        slots.begin(clients[-1])
        slots.finish(clients[-1], slots.client_name(address), "user doctor-1")
    assert open_of(clients) == SHARE


def test_slots_are_given_back(slots: ConnectionSlots) -> None:
    for _ in range(3):
        for client in connect(slots, "192.0.2.1", SHARE):
            slots.release(client)
            slots.release(client)
    assert slots.metrics.registry.get_sample_value("media_http_connections") == 0
    assert slots.metrics.registry.get_sample_value("media_http_connections_cut_total", {"reason": "idle"}) == 0
