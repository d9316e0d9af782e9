"""Spans for tests, made by hand."""

from __future__ import annotations

from collections.abc import Mapping

from console.domain import AttributeValue, Kind, Span

TRACE = "0af7651916cd43dd8448eb211c80319c"
BEGAN_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def span(
    span_id: str,
    kind: Kind = Kind.INTERNAL,
    *,
    parent: str = "",
    service: str = "orders",
    at: float = 0,
    took: float = 1,
    trace_id: str = TRACE,
    error: str = "",
    under_way: bool = False,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Span:
    """A span that began `at` and took so many milliseconds, unless it is `under_way`."""
    started = BEGAN_NS + int(at * MS)
    ended = 0 if under_way else started + int(took * MS)
    return Span(trace_id, span_id, parent, service, span_id, kind, started, ended, error, attributes or {})
