"""Lines in causal order: a call stands between its caller's lines before and after it, whatever the clocks. Pure.

Clocks of two machines differ. A process cannot have begun a call before the caller sent it, nor can an answer have
arrived before it was sent; so a span that seems to is moved, with all that was done within it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from console.domain import Kind, Span
from console.log_lines.store import Line


def in_causal_order(lines: Iterable[Line], spans: Mapping[str, Span]) -> list[Line]:
    """The lines of one trace in causal order; those whose spans are not here stand by their own clock."""
    moved = _Moved(spans)
    return sorted(lines, key=lambda line: (line.at_ns + moved.by(line.span_id), moved.depth(line.span_id), line.number))


class _Moved:
    """Nanoseconds by which the clock of each span's process has to be put forward, and the span's depth."""

    def __init__(self, spans: Mapping[str, Span]) -> None:
        self._spans = spans
        self._known: dict[str, tuple[int, int]] = {"": (0, 0)}

    def by(self, span_id: str) -> int:
        return self._of(span_id)[0]

    def depth(self, span_id: str) -> int:
        return self._of(span_id)[1]

    def _of(self, span_id: str) -> tuple[int, int]:
        way: list[Span] = []
        seen: set[str] = set()
        at = span_id
        while at not in self._known and at in self._spans and at not in seen:
            seen.add(at)
            way.append(self._spans[at])
            at = self._spans[at].parent_id
        shift, depth = self._known.get(at, (0, 0))
        parent = self._spans.get(at)
        for span in reversed(way):
            if parent is not None and parent.service != span.service:
                shift = _shift(parent, shift, span)
            depth += 1
            self._known[span.span_id] = shift, depth
            parent = span
        return shift, depth


def _shift(parent: Span, parents: int, span: Span) -> int:
    """The nanoseconds by which a span of another process is moved, so that it is within its caller's."""
    begins = parent.started_ns + parents
    if span.started_ns < begins:
        return begins - span.started_ns
    ends = parent.ended_ns + parents
    is_call = parent.kind is Kind.CLIENT and parent.ended_ns and span.ended_ns
    if is_call and span.ended_ns > ends and span.ended_ns - span.started_ns <= ends - begins:
        return ends - span.ended_ns
    return 0
