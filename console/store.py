"""The last traces, in memory: bounded by their number, by their spans and by their size; the oldest go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from console.domain import Span, Trace, weight_of

# What a span costs beside its name and its attributes' values: the object, its ids, its dictionaries.
_SPAN_BYTES = 1_200
# What a captured message costs beside its content.
_CAPTURED_BYTES = 200
# Ids of forgotten traces that are remembered, so that a request for one gets the reason why it is not there: 2 MB.
_MAX_FORGOTTEN = 20_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that is kept.

    `trace_spans` is for one trace: what endlessly adds to itself must not push out all others.
    """

    traces: int = 1_000
    spans: int = 30_000
    bytes: int = 64 << 20
    trace_spans: int = 2_000


class TraceStore:
    """Traces by id, oldest first (by when their first span arrived)."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._spans = 0
        # About how much memory the spans take.
        self.bytes = 0
        self._forgotten: OrderedDict[str, None] = OrderedDict()
        self._watchers: dict[str, set[Callable[[], None]]] = {}
        self._before_eviction: list[Callable[[Trace], None]] = []

    def before_eviction(self, call: Callable[[Trace], None]) -> None:
        """Have `call` called with each trace that has to make room."""
        self._before_eviction.append(call)

    def add(self, spans: Iterable[Span]) -> int:
        """Keep the spans; returns how many were refused because their trace is full."""
        refused = 0
        for span in spans:
            refused += not self._add(span)
        return refused

    def newest(self, limit: int | None = None, *, order_id: str = "") -> list[Trace]:
        """The traces that began last, newest first; only those of an order if one is named."""
        wanted = [trace for trace in self._traces.values() if not order_id or trace.order_id == order_id]
        return sorted(wanted, key=lambda trace: trace.started_ns, reverse=True)[:limit]

    def get(self, trace_id: str) -> Trace | None:
        return self._traces.get(trace_id)

    def evicted(self, trace_id: str) -> bool:
        """Whether a trace was here and had to make room."""
        return trace_id in self._forgotten

    @contextmanager
    def watching(self, trace_id: str, changed: Callable[[], None]) -> Iterator[None]:
        """Have `changed` called after each change of a trace, its eviction included, while the block runs.

        The trace need not be there yet.
        """
        watchers = self._watchers.setdefault(trace_id, set())
        watchers.add(changed)
        try:
            yield
        finally:
            watchers.discard(changed)
            if not watchers:
                self._watchers.pop(trace_id, None)

    def _notify(self, trace_id: str) -> None:
        for changed in tuple(self._watchers.get(trace_id, ())):
            changed()

    def _add(self, span: Span) -> bool:
        trace = self._traces.get(span.trace_id)
        if trace is None:
            trace = self._traces[span.trace_id] = Trace(span.trace_id)
        former = trace.spans.get(span.span_id)
        if former is None and len(trace.spans) >= self._bounds.trace_spans:
            return False
        self._spans += former is None
        trace.add(span)
        grown = weight(trace.spans[span.span_id]) - (0 if former is None else weight(former))
        trace.bytes += grown
        self.bytes += grown
        self._notify(span.trace_id)
        while self._over():
            self._evict()
        return True

    def _over(self) -> bool:
        bounds = self._bounds
        return len(self._traces) > bounds.traces or self._spans > bounds.spans or self.bytes > bounds.bytes

    def _evict(self) -> None:
        trace_id, trace = self._traces.popitem(last=False)
        for call in self._before_eviction:
            call(trace)
        self._forgotten[trace_id] = None
        if len(self._forgotten) > _MAX_FORGOTTEN:
            self._forgotten.popitem(last=False)
        self._notify(trace_id)
        self._spans -= len(trace.spans)
        self.bytes -= trace.bytes


def weight(span: Span) -> int:
    """Approximate bytes of memory that a span takes."""
    captured = sum(_CAPTURED_BYTES + len(each.content) for each in (span.sent, span.received) if each is not None)
    return _SPAN_BYTES + captured + sum(map(weight_of, (span.name, span.error, *span.links, *span.attributes.values())))
