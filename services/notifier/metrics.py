"""Metrics of one copy's clients, beside those of every process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from chassis.observability import metrics


class Metrics:
    """The counts of one process. Not global: tests run many processes in one interpreter.

    Reasons of a drop: `too_slow` (a client closed because it does not take what waits for it), `dead_peer` (one that
    has not answered a ping), `resync` (what a client missed is no longer in the log), `rate_limited` (a client's frame
    that was ignored).
    """

    def __init__(self) -> None:
        self.process = metrics.Metrics()
        registry = self.process.registry
        self.connections = Gauge(
            "notifier_connections", "Clients that are connected now", ("protocol",), registry=registry
        )
        self.deliveries = Counter("notifier_deliveries", "Events written to clients", ("protocol",), registry=registry)
        self.drops = Counter("notifier_drops", "Clients and frames given up", ("reason",), registry=registry)
        # A series that appears only with its first drop cannot be alerted on.
        for protocol in ("WebSocket", "SSE"):
            self.connections.labels(protocol)
            self.deliveries.labels(protocol)
        for reason in ("too_slow", "dead_peer", "resync", "rate_limited"):
            self.drops.labels(reason)
