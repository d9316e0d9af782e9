"""Prometheus metrics of a process: requests, upstream calls, hops of any protocol, breakers, queues, and itself.

A duration that belongs to a recorded trace carries the trace's id as an exemplar (OpenMetrics 1.0, "Exemplars").

Children of a metric are looked up by our own key, not by `labels()`: 1.5 us a measurement instead of 5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from opentelemetry.trace import Span
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector

from chassis.observability.spans import current_span
from chassis.resilience.deadlines import CircuitBreaker

# Seconds; from what a cache answers in to the budget of a request.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
# Peers that have series of their own: outgoing webhooks go to as many hosts as customers have.
_MAX_PEERS = 32
# Whatever else a client sends as a method must not make a new time series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one process. Not a global: tests run many processes in one interpreter."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = self._durations(
            "http_server_request_duration_seconds",
            "Requests by route, method and status",
            ("route", "method", "status"),
        )
        self._calls = self._durations(
            "rpc_client_call_duration_seconds",
            "Calls to upstreams by method and the code of their answer",
            ("peer", "method", "code"),
        )
        self._served = self._durations(
            "rpc_server_call_duration_seconds",
            "Calls served by method and the code of their answer",
            ("method", "code"),
        )
        self._hops = self._durations(
            "hop_duration_seconds",
            "Boundaries crossed, by protocol, this process's side, the process on the other side, and outcome",
            ("protocol", "side", "peer", "outcome"),
        )
        self._statements = self.counter(
            "database_statements", "Statements sent to a service's database; on SQLite without COMMIT", "database"
        )
        self._open = self.gauge(
            "circuit_breaker_open", "1 while the circuit breaker of an upstream is open: calls fail at once", "peer"
        )
        self._peers: set[str] = set()
        self._breakers = defaultdict[str, list[CircuitBreaker]](list)

    def request_done(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is a template; without one requests cannot be distinguished."""
        self._requests.observe(seconds, current_span(), route, method if method in _METHODS else "other", status)

    def call_done(self, peer: str, method: str, code: str, seconds: float) -> None:
        """`method` is the whole name, "shop.orders.v1.OrderService/GetOrder"; `code` a gRPC status' name."""
        self._calls.observe(seconds, current_span(), peer, method, code)

    def call_served(self, method: str, code: str, seconds: float) -> None:
        """The duration of calls on the server side, one series for each known method."""
        self._served.observe(seconds, current_span(), method, code)

    def hop_done(self, protocol: str, side: str, peer: str, seconds: float, span: Span, *, failed: bool) -> None:
        """One side of a boundary; `side` is "client", "server", "producer" or "consumer"."""
        if peer not in self._peers and len(self._peers) >= _MAX_PEERS:
            peer = "other"
        self._peers.add(peer)
        self._hops.observe(seconds, span, protocol, side, peer, "error" if failed else "ok")

    def statements_of(self, database: str) -> Callable[[int], None]:
        """Counts statements that were sent to a database."""
        return self._statements.labels(database).inc

    def watch(self, peer: str, breaker: CircuitBreaker) -> None:
        """Show whether the breaker towards an upstream is open."""
        # One upstream may have several, for calls that must not share their fate.
        breakers = self._breakers[peer]
        breakers.append(breaker)
        self._open.labels(peer).set_function(lambda: float(any(each.open for each in breakers)))

    def counter(self, name: str, meaning: str, label: str) -> Counter:
        return Counter(name, meaning, (label,), registry=self.registry)

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """Media type and content of everything: Prometheus' text format, or OpenMetrics where `accept` has it."""
        encode, media_type = choose_encoder(accept)
        return media_type, encode(self.registry)

    def _durations(self, name: str, meaning: str, labels: tuple[str, ...]) -> _Durations:
        return _Durations(Histogram(name, meaning, labels, buckets=_BUCKETS, registry=self.registry))


class _Durations:
    """A histogram whose children are looked up by our own key."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._children: dict[tuple[str | int, ...], Histogram] = {}

    def observe(self, seconds: float, span: Span, *labels: str | int) -> None:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._histogram.labels(*labels)
        child.observe(
            seconds, {"trace_id": f"{span.get_span_context().trace_id:032x}"} if span.is_recording() else None
        )
