"""What a trace is: the spans, from however many processes, of one thing that happened. No framework, no wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

NS_PER_MS = 1_000_000

AttributeValue = str | bool | int | float | list["AttributeValue"] | dict[str, "AttributeValue"] | None


class Kind(StrEnum):
    """Which side of which kind of boundary a span is (OpenTelemetry's SpanKind)."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of work in one process. Ids are lower-case hexadecimal, times nanoseconds since 1970.

    `parent_id` is empty for a root; `error` says why it failed and is empty when it did not.
    """

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: Kind
    started_ns: int
    ended_ns: int
    error: str
    attributes: Mapping[str, AttributeValue]

    @property
    def duration_ms(self) -> float:
        return max(0, self.ended_ns - self.started_ns) / NS_PER_MS

    @property
    def protocol(self) -> str:
        return self.text("shop.protocol")

    @property
    def peer(self) -> str:
        """Who is on the other side; empty when this side cannot know."""
        return self.text("shop.peer")

    @property
    def bytes_sent(self) -> int | None:
        return self.number("shop.bytes.sent")

    @property
    def bytes_received(self) -> int | None:
        return self.number("shop.bytes.received")

    @property
    def order_id(self) -> str:
        """The order that the span's event is about; empty when it has none or it is about something else."""
        if self.text("cloudevents.event_type").startswith("order."):
            return self.text("cloudevents.event_subject")
        return ""

    def text(self, attribute: str) -> str:
        """An attribute as text; empty when it is not there."""
        value = self.attributes.get(attribute)
        return "" if value is None else str(value)

    def number(self, attribute: str) -> int | None:
        """An attribute that is a whole number, or None."""
        value = self.attributes.get(attribute)
        return value if isinstance(value, int) else None


@dataclass(slots=True)
class Trace:
    """The spans of one trace that have arrived so far, by id. It is never known to be complete."""

    trace_id: str
    spans: dict[str, Span] = field(default_factory=dict)
    started_ns: int = 0
    ended_ns: int = 0
    order_id: str = ""

    def add(self, span: Span) -> None:
        """Add a span; one that is here already is replaced (an exporter repeats what was not answered in time)."""
        self.started_ns = min(self.started_ns or span.started_ns, span.started_ns)
        self.ended_ns = max(self.ended_ns, span.ended_ns)
        self.order_id = self.order_id or span.order_id
        self.spans[span.span_id] = span

    @property
    def duration_ms(self) -> float:
        return max(0, self.ended_ns - self.started_ns) / NS_PER_MS

    @property
    def services(self) -> set[str]:
        return {span.service for span in self.spans.values()}

    @property
    def failed(self) -> bool:
        return any(span.error for span in self.spans.values())

    @property
    def root(self) -> Span:
        """The first span whose parent is not here: the true root, once that has arrived."""
        return next((span for span in self.in_order() if span.parent_id not in self.spans), self.in_order()[0])

    def in_order(self) -> list[Span]:
        """The spans by start."""
        return by_start(self.spans.values())


def by_start(spans: Iterable[Span]) -> list[Span]:
    """Earliest first; of those that start together, the one that lasts longest, since it holds the others."""
    return sorted(spans, key=lambda span: (span.started_ns, -span.ended_ns))
