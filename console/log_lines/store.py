"""The log lines of the newest traces, in memory: bounded for each trace and in all; the oldest traces go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from console.domain import AttributeValue

_MAX_LINES = 20_000
_MAX_OF_TRACE = 500
# Characters of a message, or of a traceback.
MAX_TEXT = 8_192


@dataclass(frozen=True, slots=True)
class Line:
    """One log line. `at_ns` is nanoseconds since 1970; `number` grows with each line that arrives."""

    number: int
    trace_id: str
    span_id: str
    service: str
    at_ns: int
    level: str
    message: str
    attributes: Mapping[str, AttributeValue]


class LineStore:
    """Lines by trace, oldest trace first."""

    def __init__(self, most: int = _MAX_LINES) -> None:
        self._most = most
        self._by_trace: OrderedDict[str, list[Line]] = OrderedDict()
        self._count = 0

    def add(self, lines: Iterable[Line]) -> int:
        """Keep lines; returns how many were refused because their trace has too many."""
        refused = 0
        for line in lines:
            kept = self._by_trace.setdefault(line.trace_id, [])
            if len(kept) >= _MAX_OF_TRACE:
                refused += 1
                continue
            kept.append(line)
            self._count += 1
            while self._count > self._most:
                _, forgotten = self._by_trace.popitem(last=False)
                self._count -= len(forgotten)
        return refused

    def of(self, trace_id: str) -> list[Line]:
        """The lines of a trace, as they came."""
        return list(self._by_trace.get(trace_id, ()))
