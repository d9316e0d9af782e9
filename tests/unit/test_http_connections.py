"""Which connection is closed where one more would be too many."""

from __future__ import annotations

from chassis.http.connections import RESERVE, Connections, client_network


def test_an_ipv6_client_is_its_network() -> None:
    """A client with one address of a /64 can have all of them."""
    assert client_network("2001:db8::1") == client_network("2001:db8::ffff") == "2001:db8::/64"
    assert client_network("192.0.2.7") == "192.0.2.7"
    assert client_network("fe80::1%eth0") == "fe80::/64"
    assert client_network("not an address:") == "not an address:"


def test_an_ipv4_client_of_an_ipv6_listener_is_itself() -> None:
    """Addresses that are mapped into one network are as many clients as ever."""
    assert client_network("::ffff:192.0.2.7") == "192.0.2.7"
    assert client_network("::ffff:192.0.2.8") == "192.0.2.8"


def test_connections_beyond_the_reserve_are_closed_at_once() -> None:
    """Where every connection has a request under way, a bounded number of newcomers is let in for health checks."""
    refused: list[int] = []
    connections = Connections(2)
    for number in range(2 + RESERVE + 1):
        connections.opened(number, "192.0.2.7", lambda number=number: refused.append(number))  # type: ignore[misc]
        connections.begins(number, "192.0.2.7")
    assert refused == [2 + RESERVE]
    assert len(connections) == connections.working == 2 + RESERVE


def test_a_connection_is_idle_again_after_its_last_answer() -> None:
    """It is then the one that has been idle for the shortest time."""
    gone: list[str] = []
    connections = Connections(2)
    for name in ("first", "second"):
        connections.opened(name, "192.0.2.7", lambda name=name: gone.append(name))  # type: ignore[misc]
    connections.begins("first", "192.0.2.7")
    connections.rests("first", "192.0.2.7")
    connections.opened("third", "192.0.2.8", lambda: gone.append("third"))
    assert gone == ["second"]


def test_connections_that_are_counted_elsewhere_take_room() -> None:
    """WebSockets are connections, too, and never idle."""
    gone: list[str] = []
    connections = Connections(2)
    connections.opened("first", "192.0.2.7", lambda: gone.append("first"))
    connections.opened("second", "192.0.2.7", lambda: gone.append("second"), others=1)
    assert gone == ["first"]
