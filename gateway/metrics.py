"""Metrics of the edge beside requests and calls: quota refusals and cache results."""

from __future__ import annotations

from functools import cache

from chassis.observability.metrics import Metrics


class EdgeMetrics:
    def __init__(self) -> None:
        self.process = Metrics()
        counter = self.process.counter
        self._refusals = cache(counter("rate_limited_requests", "Requests refused with 429, by quota", "quota").labels)
        reads = counter("edge_cache_reads", "Reads of the catalogue, by result of the cache", "outcome")
        self._reads = cache(reads.labels)

    def refused(self, quota: str) -> None:
        self._refusals(quota).inc()

    def read(self, outcome: str) -> None:
        self._reads(outcome).inc()
