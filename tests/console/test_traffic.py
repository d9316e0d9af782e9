"""What the map counts: each arrow's hops in a minute, those of evicted traces included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chassis.broker.port import QueueDepth
from console.domain import Kind
from console.store import Bounds, TraceStore
from console.views.topology import topology
from console.views.traffic import TrafficHistory
from tests.console.spans import BEGAN_NS, span

BEGAN = BEGAN_NS / 1e9


def _call(store: TraceStore, trace_id: str, at_s: float, error: str = "") -> None:
    """One gRPC call from gateway to orders that took 10 ms."""
    facts = {"shop.protocol": "gRPC", "shop.peer": "orders"}
    at = at_s * 1_000
    store.add([span("a" * 16, Kind.CLIENT, service="gateway", at=at, took=10, trace_id=trace_id, attributes=facts)])
    far = span("b" * 16, Kind.SERVER, parent="a" * 16, at=at + 1, trace_id=trace_id, error=error, attributes=facts)
    store.add([far])


def test_a_minute_is_counted_by_arrow() -> None:
    """Rate, failures and latency of an arrow are those of the requested minute, and of no other."""
    store = TraceStore(Bounds())
    history = TrafficHistory(store)
    for number in range(6):
        _call(store, f"{number:032x}", number * 5.0, error="UNAVAILABLE" if number == 3 else "")
    _call(store, f"{99:032x}", 200.0)
    found = topology(history, 0, now=BEGAN + 59)
    (arrow,) = [each for each in found["arrows"] if each["count"]]
    assert (arrow["from"], arrow["protocol"], arrow["to"]) == ("gateway", "gRPC", "orders")
    assert (arrow["count"], arrow["rate"], arrow["failed"], arrow["p95_ms"]) == (6, 0.1, 1, 10.0)
    assert [each["count"] for each in topology(history, 2, now=BEGAN + 59 + 120)["arrows"] if each["count"]] == [6]


def test_a_call_that_hangs_is_counted() -> None:
    """The map shows a call from its beginning, and not only once it has ended."""
    store = TraceStore(Bounds())
    history = TrafficHistory(store)
    facts = {"shop.protocol": "gRPC", "shop.peer": "orders"}
    store.add([span("a" * 16, Kind.CLIENT, service="gateway", at=5_000, under_way=True, attributes=facts)])
    assert {arrow: each.count for arrow, each in history.until(BEGAN + 30).items()} == {
        ("gateway", "gRPC", "orders"): 1
    }


def test_traces_that_made_room_are_still_counted() -> None:
    """The slider shows fifteen minutes, however few traces are kept; what is older than that is let go."""
    store = TraceStore(Bounds(traces=2))
    history = TrafficHistory(store)
    for number in range(20):
        _call(store, f"{number + 1:032x}", number * 1.0)
    assert len(store.newest()) == 2
    assert sum(each.count for each in history.until(BEGAN + 30).values()) == 20
    for number in range(3):
        _call(store, f"{number + 100:032x}", 2_000.0 + number)
    assert sum(each.count for each in history.until(BEGAN + 30).values()) <= 2


def test_a_clock_that_is_ahead_costs_no_history() -> None:
    """A trace of a sender whose clock is years ahead makes none of the others look old, and is let go itself."""
    store = TraceStore(Bounds(traces=2))
    history = TrafficHistory(store)
    years = 50 * 365 * 86_400.0
    _call(store, f"{1:032x}", years)
    for number in range(20):
        _call(store, f"{number + 2:032x}", number * 1.0)
    assert sum(each.count for each in history.until(BEGAN + 30).values()) == 20
    assert sum(each.count for each in history.until(BEGAN + years + 30).values()) == 0


def test_an_open_breaker_is_marked() -> None:
    """An arrow whose last call the circuit breaker refused says so, until one is made again; queues show depths."""
    store = TraceStore(Bounds())
    history = TrafficHistory(store)
    facts = {"shop.protocol": "gRPC", "shop.peer": "orders", "shop.note": "breaker_open"}
    _call(store, f"{1:032x}", 1.0)
    store.add([span("c" * 16, Kind.CLIENT, service="gateway", at=2_000, trace_id=f"{2:032x}", attributes=facts)])

    def marked() -> list[bool]:
        oldest = datetime.now(UTC) - timedelta(seconds=90)
        depths = [QueueDepth("order-mail", 2, 1, 3, oldest), QueueDepth("order-invoice", 1, 0, 0)]
        found = topology(history, 0, now=BEGAN + 30, depths=depths)
        mail, invoice = sorted(found["queues"], key=lambda each: str(each["name"]), reverse=True)
        assert (mail["name"], mail["ready"], mail["dead"]) == ("order-mail", 2, 3)
        assert 90 <= mail["oldest_seconds"] < 90 + 60
        assert invoice["oldest_seconds"] is None
        assert found["unread"] == {"reports": None}
        return [each["breaker_open"] for each in found["arrows"] if each["count"]]

    assert marked() == [True]
    _call(store, f"{3:032x}", 3.0)
    assert marked() == [False]
