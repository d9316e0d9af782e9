"""Traffic over each arrow of the map in the last fifteen minutes, evicted traces included."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from chassis import wall_clock
from console.domain import NS_PER_MS, NS_PER_S, Trace
from console.hops import BROKER, EVENT_LOG, Hop, HopKind, State, hops
from console.store import TraceStore

# Seconds that a rate is taken over, that are kept, and of one bucket of what is kept.
WINDOW = 60.0
KEPT = 15 * 60.0 + WINDOW
_BUCKET = 10.0
# Durations of one arrow that are kept in a bucket: enough for its percentiles.
_MAX_DURATIONS = 200

Arrow = tuple[str, str, str]


@dataclass(slots=True)
class Traffic:
    """`durations` are milliseconds: how long hops took, and for the broker's arrows how long they waited."""

    count: int = 0
    failed: int = 0
    durations: list[float] = field(default_factory=list)
    # When the newest hop was, and whether the circuit breaker refused it.
    newest: float = 0.0
    breaker_open: bool = False

    def add(self, other: Traffic) -> None:
        if other.newest > self.newest:
            self.newest, self.breaker_open = other.newest, other.breaker_open
        self.count += other.count
        self.failed += other.failed
        self.durations += other.durations


@dataclass(frozen=True, slots=True)
class _Crossing:
    """A hop over one arrow; `at` is Unix seconds."""

    at: float
    arrow: Arrow
    duration_ms: float
    failed: bool
    refused_by_breaker: bool


class TrafficHistory:
    """Counts what a store has, and what it had. A trace is looked at again only when it has changed."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store
        store.before_eviction(self._keep)
        self._crossings: dict[str, tuple[int, list[_Crossing]]] = {}
        self._buckets: OrderedDict[int, dict[Arrow, Traffic]] = OrderedDict()

    def until(self, moment: float) -> dict[Arrow, Traffic]:
        """Traffic over each arrow in the minute before a moment (Unix seconds)."""
        found: dict[Arrow, Traffic] = defaultdict(Traffic)
        for trace in self._store.newest():
            # A trace that began later, or was over long before, has nothing of this minute.
            if trace.started_ns > moment * NS_PER_S or trace.newest_ns < (moment - WINDOW) * NS_PER_S:
                continue
            for crossing in self._of(trace):
                if moment - WINDOW < crossing.at <= moment:
                    _count(found[crossing.arrow], crossing)
        for number, bucket in self._buckets.items():
            if moment - WINDOW < number * _BUCKET <= moment:
                for arrow, traffic in bucket.items():
                    found[arrow].add(traffic)
        return found

    def _of(self, trace: Trace) -> list[_Crossing]:
        version, crossings = self._crossings.get(trace.trace_id, (-1, []))
        if version != trace.version:
            crossings = list(_crossings(trace))
            self._crossings[trace.trace_id] = trace.version, crossings
        return crossings

    def _keep(self, trace: Trace) -> None:
        crossings = self._of(trace)
        del self._crossings[trace.trace_id]
        for crossing in crossings:
            bucket = self._buckets.setdefault(int(crossing.at // _BUCKET), defaultdict(Traffic))
            _count(bucket[crossing.arrow], crossing)
        if self._buckets:
            # A sender whose clock is ahead must not make all that is true look old, nor stay for good.
            newest = min(max(self._buckets), int(wall_clock.seconds() // _BUCKET) + 1)
            kept = range(int(newest - KEPT / _BUCKET), newest + 1)
            for number in [number for number in self._buckets if number not in kept]:
                del self._buckets[number]


def _crossings(trace: Trace) -> Iterable[_Crossing]:
    for hop in hops(trace.spans.values()):
        at = (trace.started_ns + hop.offset_ms * NS_PER_MS) / NS_PER_S
        duration = hop.duration_ms if hop.waiting_ms is None else hop.waiting_ms
        for arrow in _arrows_of(hop):
            yield _Crossing(at, arrow, duration, hop.state is State.FAILED, hop.note == "breaker_open")


def _arrows_of(hop: Hop) -> Iterable[Arrow]:
    """A message goes over two arrows of the picture: to the broker and from it, whose log may be Kafka's."""
    if hop.kind is HopKind.MESSAGE and (hop.queue or hop.target in (BROKER, EVENT_LOG)):
        yield hop.origin, "AMQP", BROKER
        if hop.queue:
            yield BROKER, "AMQP", hop.target
    else:
        yield hop.origin, hop.protocol, hop.target


def _count(traffic: Traffic, crossing: _Crossing) -> None:
    traffic.count += 1
    traffic.failed += crossing.failed
    if crossing.at >= traffic.newest:
        traffic.newest, traffic.breaker_open = crossing.at, crossing.refused_by_breaker
    if len(traffic.durations) < _MAX_DURATIONS:
        traffic.durations.append(crossing.duration_ms)
