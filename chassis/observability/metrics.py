"""Prometheus metrics of a process: requests, upstream calls, hops of any protocol, breakers, queues, and itself.

A duration that belongs to a recorded trace carries the trace's id as an exemplar (OpenMetrics 1.0, "Exemplars").

Children of a metric are looked up by our own key, not by `labels()`: 1.5 us a measurement instead of 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from chassis.observability.tracing import Span, current_span
from chassis.resilience.deadlines import CircuitBreaker

# Seconds; from what a cache answers in to the budget of a request.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
# Whatever else a client sends as a method must not make a new time series.
# Peers that have series of their own: outgoing webhooks go to as many hosts as customers have.
_MAX_PEERS = 32
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one process. Not a global: tests run many processes in one interpreter."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._breakers = _Breakers()
        self.registry.register(self._breakers)
        self._requests = Histogram(
            "http_server_request_duration_seconds",
            "Requests by route, method and status",
            ("route", "method", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._calls = Histogram(
            "rpc_client_call_duration_seconds",
            "Calls to upstreams by method and the code of their answer",
            ("peer", "method", "code"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._served = Histogram(
            "rpc_server_call_duration_seconds",
            "Calls served by method and the code of their answer",
            ("method", "code"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._hops = Histogram(
            "hop_duration_seconds",
            "Boundaries crossed, by protocol, this process's side, the process on the other side, and outcome",
            ("protocol", "side", "peer", "outcome"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._statements = Counter(
            "database_statements",
            "Statements sent to a service's database; on SQLite without COMMIT",
            ("database",),
            registry=self.registry,
        )
        self._peers: set[str] = set()
        self._seen_hops: dict[tuple[str, str, str, str], Histogram] = {}
        self._seen_served: dict[tuple[str, str], Histogram] = {}
        self._seen_requests: dict[tuple[str, str, int], Histogram] = {}
        self._seen_calls: dict[tuple[str, str, str], Histogram] = {}

    def request_done(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is a template; without one requests cannot be distinguished."""
        key = (route, method, status)
        child = self._seen_requests.get(key)
        if child is None:
            if method not in _METHODS:
                key = (route, "other", status)
            child = self._requests.labels(*key)
            self._seen_requests[key] = child
        child.observe(seconds, _exemplar(current_span()))

    def call_done(self, peer: str, method: str, code: str, seconds: float) -> None:
        """`method` is the whole name, "shop.orders.v1.OrderService/GetOrder"; `code` a gRPC status' name."""
        key = (peer, method, code)
        child = self._seen_calls.get(key)
        if child is None:
            child = self._seen_calls[key] = self._calls.labels(*key)
        child.observe(seconds, _exemplar(current_span()))

    def call_served(self, method: str, code: str, seconds: float) -> None:
        """The duration of calls on the server side, one series for each known method."""
        key = (method, code)
        child = self._seen_served.get(key)
        if child is None:
            child = self._seen_served[key] = self._served.labels(*key)
        child.observe(seconds, _exemplar(current_span()))

    def hop_done(self, protocol: str, side: str, peer: str, seconds: float, span: Span, *, failed: bool) -> None:
        """One side of a boundary; `side` is "client", "server", "producer" or "consumer"."""
        key = (protocol, side, peer, "error" if failed else "ok")
        child = self._seen_hops.get(key)
        if child is None:
            if peer not in self._peers and len(self._peers) >= _MAX_PEERS:
                key = (protocol, side, "other", key[3])
            self._peers.add(key[2])
            child = self._seen_hops[key] = self._hops.labels(*key)
        child.observe(seconds, _exemplar(span))

    def statements_of(self, database: str) -> Callable[[int], None]:
        """Counts statements that were sent to a database."""
        return self._statements.labels(database).inc

    def watch(self, peer: str, breaker: CircuitBreaker) -> None:
        """Show whether the breaker towards an upstream is open."""
        self._breakers.watched.append((peer, breaker))

    def counter(self, name: str, meaning: str, label: str) -> Counter:
        return Counter(name, meaning, (label,), registry=self.registry)

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """Media type and content of everything: Prometheus' text format, or OpenMetrics where `accept` has it."""
        encode, media_type = choose_encoder(accept)
        return media_type, encode(self.registry)


def _exemplar(span: Span) -> dict[str, str] | None:
    return {"trace_id": f"{span.get_span_context().trace_id:032x}"} if span.is_recording() else None


class _Breakers(Collector):
    """Reads the breakers at each scrape."""

    def __init__(self) -> None:
        self.watched: list[tuple[str, CircuitBreaker]] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "circuit_breaker_open", "1 while calls to an upstream are refused without being made", labels=["peer"]
        )
        # One upstream may have several, for calls that must not share their fate.
        for peer in dict.fromkeys(peer for peer, _ in self.watched):
            family.add_metric([peer], float(any(breaker.open for of, breaker in self.watched if of == peer)))
        yield family
