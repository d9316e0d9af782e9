"""Traces: the spans, from all processes, of one request or event. No framework, no wire."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
# Later than any span ends.
_NEVER = 1 << 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

AttributeValue = str | bool | int | float | list["AttributeValue"] | dict[str, "AttributeValue"] | None


class Kind(StrEnum):
    """OpenTelemetry's SpanKind: the side of a boundary that a span is."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


@dataclass(frozen=True, slots=True)
class Captured:
    """A message that crossed a boundary: its beginning, without secrets, and its `size` in all.

    `form` is how the bytes are to be read (`chassis.observability.capture.messages`).
    """

    form: str
    content: bytes
    size: int
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class CodePlace:
    """A line of the running code."""

    file: str
    line: int | None
    function: str


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of work in one process. Ids are lower-case hexadecimal, times nanoseconds since 1970.

    `parent_id` is empty for a root; `ended_ns` is 0 while it is under way; `error` is why it failed and is empty when
    it did not; `links` are the ids of spans that it has to do with otherwise.
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
    links: tuple[str, ...] = ()
    sent: Captured | None = None
    received: Captured | None = None

    @property
    def under_way(self) -> bool:
        """Whether its end is not known yet."""
        return self.ended_ns == 0

    @property
    def note(self) -> str:
        """A note beyond its status, such as "idempotent_replay"; empty for none."""
        return self.text("shop.note")

    @property
    def code(self) -> CodePlace | None:
        """The source location of the code that made it."""
        file = self.text("code.file.path")
        return CodePlace(file, self.number("code.line.number"), self.text("code.function.name")) if file else None

    @property
    def method(self) -> str:
        """The gRPC method that was called ("shop.orders.v1.OrderService/GetOrder"); empty for no such call."""
        if self.text("rpc.system") != "grpc":
            return ""
        return f"{self.text('rpc.service')}/{self.text('rpc.method')}"

    @property
    def http_status(self) -> int:
        """The status of the HTTP response; 0 where there is none."""
        return self.number("http.response.status_code") or self.number("http.status_code") or 0

    @property
    def duration_ms(self) -> float:
        return max(0, self.ended_ns - self.started_ns) / NS_PER_MS

    @property
    def protocol(self) -> str:
        """The protocol; for spans that are not ours, by OpenTelemetry's semantic conventions."""
        if ours := self.text("shop.protocol"):
            return ours
        if system := self.text("rpc.system"):
            return "gRPC" if system == "grpc" else system
        if self.text("http.request.method") or self.text("http.method"):
            return "HTTP"
        if system := self.text("messaging.system"):
            return "AMQP" if system == "rabbitmq" else system
        return self.text("network.protocol.name")

    @property
    def peer(self) -> str:
        """Name of the process on the other side; empty when this side has no name for it."""
        names = ("shop.peer", "peer.service", "server.address", "net.peer.name")
        return next((name for name in map(self.text, names) if name), "")

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
    # The newest moment in its spans: later than `ended_ns` where one has begun since, and has not ended.
    newest_ns: int = 0
    order_id: str = ""
    # Grows with each change.
    version: int = 0
    # About what its spans take in memory.
    bytes: int = 0

    def add(self, span: Span) -> None:
        """Add a span; it replaces an earlier version of it, unless only that one has ended.

        An exporter repeats what was not answered in time, and sends a span under way before it sends its end.
        """
        former = self.spans.get(span.span_id)
        if former is not None and span.under_way and not former.under_way:
            return
        self.started_ns = min(self.started_ns or span.started_ns, span.started_ns)
        self.ended_ns = max(self.ended_ns, span.ended_ns)
        self.newest_ns = max(self.newest_ns, span.started_ns, span.ended_ns)
        self.order_id = self.order_id or span.order_id
        self.spans[span.span_id] = span
        self.version += 1

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
    return sorted(spans, key=lambda span: (span.started_ns, -(span.ended_ns or _NEVER)))


def rfc3339(at_ns: int, timespec: str = "auto") -> str:
    """A time in nanoseconds since 1970 in the form of RFC 3339, in UTC, to microseconds or to `timespec`."""
    moment = _EPOCH + timedelta(microseconds=at_ns // 1_000)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def weight_of(value: AttributeValue) -> int:
    """Approximate bytes of memory that an attribute's value takes."""
    own = sys.getsizeof(value)
    match value:
        case list():
            return own + sum(map(weight_of, value))
        case dict():
            return own + sum(sys.getsizeof(key) + weight_of(each) for key, each in value.items())
        case _:
            return own
