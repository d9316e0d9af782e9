"""The log lines of the newest traces, in memory: bounded for each trace, in all and in bytes; the oldest go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from console.domain import AttributeValue, weight_of

_MAX_LINES = 20_000
_MAX_OF_TRACE = 500
_MAX_BYTES = 32 << 20
# What a line costs beside its texts.
_LINE_BYTES = 600
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

    @property
    def bytes(self) -> int:
        """Approximate bytes of memory that it takes."""
        texts = (self.service, self.level, self.message, *self.attributes.values())
        return _LINE_BYTES + sum(map(weight_of, texts))


class LineStore:
    """Lines by trace, oldest trace first."""

    def __init__(self, max_lines: int = _MAX_LINES, max_bytes: int = _MAX_BYTES) -> None:
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._by_trace: OrderedDict[str, list[Line]] = OrderedDict()
        self._count = 0
        self._bytes = 0

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
            self._bytes += line.bytes
            while self._count > self._max_lines or self._bytes > self._max_bytes:
                _, forgotten = self._by_trace.popitem(last=False)
                self._count -= len(forgotten)
                self._bytes -= sum(each.bytes for each in forgotten)
        return refused

    def of(self, trace_id: str) -> list[Line]:
        """The lines of a trace, in the order of their arrival."""
        return list(self._by_trace.get(trace_id, ()))
