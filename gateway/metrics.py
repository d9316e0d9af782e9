"""Metrics of the edge beside requests and calls: quota refusals and cache results."""

from __future__ import annotations

from prometheus_client import Counter

from chassis.observability.metrics import Metrics


class EdgeMetrics:
    def __init__(self) -> None:
        self.process = Metrics()
        self._refusals = self.process.counter("rate_limited_requests", "Requests refused with 429, by quota", "quota")
        self._reads = self.process.counter(
            "edge_cache_reads", "Reads of the catalogue, by what the cache did", "outcome"
        )
        self._children: dict[tuple[str, str], Counter] = {}

    def refused(self, quota: str) -> None:
        self._count(self._refusals, "quota", quota)

    def read(self, outcome: str) -> None:
        self._count(self._reads, "outcome", outcome)

    def _count(self, counter: Counter, label: str, value: str) -> None:
        child = self._children.get((label, value))
        if child is None:
            child = self._children[label, value] = counter.labels(value)
        child.inc()
